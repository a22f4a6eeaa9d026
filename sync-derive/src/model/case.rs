//! serde's `rename_all`, for fields.

use syn::LitStr;

/// A value of `rename_all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    /// The case of that name; `None` if serde does not know it either, which serde says.
    pub(crate) fn of(name: &LitStr) -> Option<Self> {
        Some(match name.value().as_str() {
            "lowercase" => Self::Lower,
            "UPPERCASE" => Self::Upper,
            "PascalCase" => Self::Pascal,
            "camelCase" => Self::Camel,
            "snake_case" => Self::Snake,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            "kebab-case" => Self::Kebab,
            "SCREAMING-KEBAB-CASE" => Self::ScreamingKebab,
            _ => return None,
        })
    }

    /// What serde makes of a variant's name.
    pub(crate) fn apply_to_variant(self, variant: &str) -> String {
        match self {
            Self::Pascal => variant.to_owned(),
            Self::Lower => variant.to_ascii_lowercase(),
            Self::Upper => variant.to_ascii_uppercase(),
            Self::Camel => {
                let first = variant.chars().next().map_or(0, char::len_utf8);
                variant[..first].to_ascii_lowercase() + &variant[first..]
            }
            Self::Snake => snake(variant),
            Self::ScreamingSnake => snake(variant).to_ascii_uppercase(),
            Self::Kebab => snake(variant).replace('_', "-"),
            Self::ScreamingKebab => snake(variant).to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// What serde makes of a field's name.
    pub(crate) fn apply(self, field: &str) -> String {
        match self {
            Self::Lower | Self::Snake => field.to_owned(),
            Self::Upper | Self::ScreamingSnake => field.to_ascii_uppercase(),
            Self::Pascal => pascal(field),
            Self::Camel => {
                let pascal = pascal(field);
                let first = pascal.chars().next().map_or(0, char::len_utf8);
                pascal[..first].to_ascii_lowercase() + &pascal[first..]
            }
            Self::Kebab => field.replace('_', "-"),
            Self::ScreamingKebab => field.to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn snake(variant: &str) -> String {
    let mut snake = String::with_capacity(variant.len());
    for (index, letter) in variant.char_indices() {
        if index > 0 && letter.is_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn pascal(field: &str) -> String {
    let mut pascal = String::with_capacity(field.len());
    let mut at_start = true;
    for letter in field.chars() {
        if letter == '_' {
            at_start = true;
        } else if at_start {
            pascal.push(letter.to_ascii_uppercase());
            at_start = false;
        } else {
            pascal.push(letter);
        }
    }
    pascal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_as_serde_does() {
        let cases = [
            (Case::Lower, "created_at"),
            (Case::Upper, "CREATED_AT"),
            (Case::Pascal, "CreatedAt"),
            (Case::Camel, "createdAt"),
            (Case::Snake, "created_at"),
            (Case::ScreamingSnake, "CREATED_AT"),
            (Case::Kebab, "created-at"),
            (Case::ScreamingKebab, "CREATED-AT"),
        ];
        for (case, expected) in cases {
            assert_eq!(case.apply("created_at"), expected, "{case:?}");
        }
        let cases = [
            (Case::Lower, "veryold"),
            (Case::Upper, "VERYOLD"),
            (Case::Pascal, "VeryOld"),
            (Case::Camel, "veryOld"),
            (Case::Snake, "very_old"),
            (Case::ScreamingSnake, "VERY_OLD"),
            (Case::Kebab, "very-old"),
            (Case::ScreamingKebab, "VERY-OLD"),
        ];
        for (case, expected) in cases {
            assert_eq!(case.apply_to_variant("VeryOld"), expected, "{case:?}");
        }
        assert_eq!(Case::Camel.apply("_a"), "a");
        assert_eq!(Case::Camel.apply("_"), "");
    }
}
