//! The code of a type: the calls that describe it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{Type, parse_quote_spanned};

use super::ir::{Content, DescribedType, Form, Object, Presence, Property, Shape, Value, Variant};
use crate::{runtime::Runtime, tokens};

pub(super) fn described(described: &DescribedType) -> TokenStream {
    let DescribedType { runtime, ident, name, doc, .. } = described;
    let mut generics = described.generics.clone();
    let parameters: Vec<_> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    for parameter in &parameters {
        let runtime = tokens::at(parameter.span(), runtime);
        generics
            .make_where_clause()
            .predicates
            .push(parse_quote_spanned!(parameter.span()=> #parameter: #runtime::SyncType));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let code = Code { runtime };
    let body = code.whole(described);
    // The body's `types`, also where the type's name comes out of a `macro_rules!`.
    let types = quote!(types);
    // The place that is reported for the type, and tells it from others, is that of its name.
    let place = tokens::at(ident.span(), runtime);
    let named = quote_spanned! {ident.span()=>
        #place::Types::named::<Self>(
            #types,
            #name,
            #doc,
            &[#(<#parameters as #place::SyncType>::__describe),*],
            |#types| {
                let _ = &#types;
                #body
            },
        )
    };
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #impl_generics #runtime::SyncType for #ident #type_generics #where_clause {
            fn __describe(types: &mut #runtime::Types) -> #runtime::Type {
                #named
            }
        }
    }
}

struct Code<'a> {
    runtime: &'a Runtime,
}

impl Code<'_> {
    fn whole(&self, described: &DescribedType) -> TokenStream {
        let runtime = self.runtime;
        let own = self.shape(&described.shape);
        let instead = &described.instead;
        match (&described.shape, &instead.write, &instead.read) {
            // A person said it.
            (Shape::Verbatim(_), ..) | (_, None, None) => own,
            (_, Some(write), Some(read)) if tokens::text(write) == tokens::text(read) => self.of_type(write),
            (_, write, read) => {
                let of = |ty: &Option<Type>| ty.as_ref().map_or_else(|| own.clone(), |ty| self.of_type(ty));
                let (write, read) = (of(write), of(read));
                quote!(#runtime::Type::directed(#write, #read))
            }
        }
    }

    fn shape(&self, shape: &Shape) -> TokenStream {
        let runtime = self.runtime;
        match shape {
            Shape::Verbatim(ts) => quote!(#runtime::Type::Verbatim(#ts)),
            Shape::Null => quote!(#runtime::Type::Null),
            Shape::Value(value) => self.value(value),
            Shape::Tuple(values) => {
                let values = values.iter().map(|value| self.value(value));
                quote!(#runtime::Type::Tuple(#runtime::Vec::from([#(#values),*])))
            }
            Shape::Object(Object { properties, flattened }) => {
                let properties = self.properties(properties);
                if flattened.is_empty() {
                    return quote!(#runtime::Type::Object(#properties));
                }
                let flattened = flattened.iter().map(|value| self.value(value));
                quote!(#runtime::Type::flattened(#properties, #runtime::Vec::from([#(#flattened),*])))
            }
            Shape::Union(variants) => {
                let variants = variants.iter().map(|variant| self.variant(variant));
                quote!(#runtime::Type::Union(#runtime::Vec::from([#(#variants),*])))
            }
        }
    }

    fn variant(&self, variant: &Variant) -> TokenStream {
        let runtime = self.runtime;
        let Variant { doc, read, insert, form } = variant;
        let ty = match form {
            Form::Literal(text) => quote!(#runtime::Type::Literal(#text)),
            Form::Shape(shape) => self.shape(shape),
            Form::Tagged(tag, value) => {
                let (tag, value) = (self.property(tag), self.value(value));
                quote!(#runtime::Type::flattened(#runtime::Vec::from([#tag]), #runtime::Vec::from([#value])))
            }
        };
        quote!(#runtime::Variant { doc: #doc, ty: #ty, read: #read, insert: #insert })
    }

    fn properties(&self, properties: &[Property]) -> TokenStream {
        let runtime = self.runtime;
        let properties = properties.iter().map(|property| self.property(property));
        quote!(#runtime::Vec::from([#(#properties),*]))
    }

    fn property(&self, property: &Property) -> TokenStream {
        let runtime = self.runtime;
        let Property { name, doc, content, read, insert } = property;
        let ty = match content {
            Content::Value(value) => self.value(value),
            Content::Literal(text) => quote!(#runtime::Type::Literal(#text)),
            Content::Shape(shape) => self.shape(shape),
        };
        if doc.is_empty() && *read == Presence::Always && *insert == Presence::Always {
            return quote!(#runtime::Property::always(#name, #ty));
        }
        quote! {
            #runtime::Property {
                name: #name,
                doc: #doc,
                ty: #ty,
                read: #runtime::Presence::#read,
                insert: #runtime::Presence::#insert,
            }
        }
    }

    fn value(&self, value: &Value) -> TokenStream {
        let described = value.field_type.describe(&value.ty, self.runtime);
        described.unwrap_or_else(|| self.of_type(&value.ty))
    }

    /// On the user's type, where the compiler then says if it has none.
    fn of_type(&self, ty: impl ToTokens) -> TokenStream {
        let ty = ty.to_token_stream();
        let runtime = tokens::at(tokens::first_span(&ty), self.runtime);
        let describe = quote_spanned!(tokens::first_span(&ty)=> <#ty as #runtime::SyncType>::__describe);
        quote!(#describe(types))
    }
}

impl ToTokens for Presence {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match self {
            Self::Never => quote!(Never),
            Self::Optional => quote!(Optional),
            Self::UnlessNullable => quote!(UnlessNullable),
            Self::Always => quote!(Always),
        });
    }
}
