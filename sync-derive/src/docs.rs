//! The documentation of the user's items.

use syn::{Attribute, Meta};

use crate::runtime::string;

/// The text of the `///` comments; what a macro writes, such as `include_str!`, is not known here.
pub(crate) fn of(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => Some(string(&doc.value)?.value()),
        _ => None,
    });
    // Of `/** ... */` each line has what stands before it.
    let lines: Vec<_> = lines
        .flat_map(|text| {
            text.split('\n').map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned()).collect::<Vec<_>>()
        })
        .collect();
    lines.join("\n").trim().to_owned()
}
