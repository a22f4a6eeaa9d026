//! What the macros make of an item, as readable code. After a change, `INSTA_UPDATE=always cargo test -p sync-derive`
//! writes it anew; the difference is then there to be read.

use proc_macro2::TokenStream;
use quote::quote;

use crate::{handlers, model, sync_type};

/// Compares the code with the snapshot of that name.
fn check(name: &str, code: TokenStream) {
    let file = syn::parse2(code).expect("the code parses");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, prettyplease::unparse(&file));
    });
}

#[test]
fn a_small_model() {
    check(
        "a_small_model",
        model::derive(quote! {
            pub struct Note {
                pub id: u64,
                pub text: String,
            }
        }),
    );
}

#[test]
fn a_model_with_everything() {
    check(
        "a_model_with_everything",
        model::derive(quote! {
            /// Something to do.
            #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
            #[sync(name = "todos", crate = "crate::facade")]
            pub struct Todo {
                #[sync(id)]
                pub key: Uuid,
                /// What is to be done.
                #[serde(alias = "text", serialize_with = "upper")]
                #[sync(index)]
                pub title: String,
                #[serde(with = "hex", skip_serializing_if = "is_default")]
                #[sync(index)]
                pub(crate) colour: u32,
                parent: Option<Box<Self>>,
                #[sync(read_only)]
                created_at: i64,
                #[sync(server_only, index)]
                #[serde(default = "nobody")]
                owner: UserId,
                #[serde(skip)]
                cache: usize,
                r#type: String,
            }
        }),
    );
}

#[test]
fn fields_without_a_default_of_their_own() {
    check(
        "fields_without_a_default_of_their_own",
        model::derive(quote! {
            struct Todo {
                id: u64,
                #[sync(read_only)]
                created_at: i64,
                #[sync(server_only)]
                owner: UserId,
            }
        }),
    );
}

#[test]
fn all_handlers() {
    check(
        "all_handlers",
        handlers::attribute(
            quote!(),
            &quote! {
                impl Todo {
                    async fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
                        Ok(draft)
                    }
                    async fn update<'a>(ctx: &'a Context, current: &'a Self, mut next: Self) -> Result<Self> {
                        Ok(next)
                    }
                    async fn delete(_: &Context, _: &Todo) -> Result<()> {
                        Ok(())
                    }
                    async fn read(_: &Context) -> Result<Filter<Todo>> {
                        Ok(Filter::all())
                    }
                    async fn read_all(_: &Context, query: Query<Todo>) -> Result<Query<Todo>> {
                        Ok(query)
                    }
                }
            },
        ),
    );
}

#[test]
fn crud_with_one_handler_and_strangers() {
    check(
        "crud_with_one_handler_and_strangers",
        handlers::attribute(
            quote!(crud, crate = "crate::facade"),
            &quote! {
                #[cfg(feature = "todo")]
                impl super::Todo {
                    #[cfg(unix)]
                    async fn create(ctx: &Context, draft: Self) -> Result<Self, MyError> {
                        Ok(draft)
                    }
                    async fn pause(duration: Duration) {}
                    fn shorten(&mut self) {}
                }
            },
        ),
    );
}

#[test]
fn actions() {
    check(
        "actions",
        handlers::attribute(
            quote!(),
            &quote! {
                impl Todo {
                    /// Deletes what is done.
                    #[action]
                    async fn clear_completed(ctx: &Context, list: String, mut r#type: Option<Self>) -> Result<u32> {
                        Ok(0)
                    }
                    #[cfg(unix)]
                    #[action]
                    async fn ping<'a>(_: &'a Context) -> Result<(), MyError> {
                        Ok(())
                    }
                }
            },
        ),
    );
}

#[test]
fn a_type_with_a_parameter() {
    check(
        "a_type_with_a_parameter",
        sync_type::derive(quote! {
            /// Two of a kind.
            #[serde(rename_all = "camelCase")]
            #[sync(crate = "crate::facade")]
            pub struct Pair<'a, T: Clone, const N: usize> where T: 'static {
                pub the_left: T,
                /// The other.
                #[serde(default)]
                the_right: Option<&'a T>,
                #[serde(with = "crate::facade::integer_string", skip_serializing_if = "is_zero")]
                count: u64,
                #[serde(with = "hex", rename(serialize = "color", deserialize = "colour"))]
                colour: [u8; N],
                #[sync(ts = "'a' | 'b'")]
                letter: Letter,
                #[serde(flatten)]
                rest: Rest,
            }
        }),
    );
}

#[test]
fn an_enum_of_every_kind() {
    let variants = quote! {
        Unit,
        /// One value.
        Newtype(String),
        Tuple(u8, #[serde(skip)] u8, Option<bool>),
        Struct { a: u8 },
        #[serde(skip_serializing, rename = "old")]
        Old,
    };
    let external = sync_type::derive(quote!(enum External { #variants }));
    let internal = sync_type::derive(quote! {
        #[serde(tag = "type")]
        enum Internal { Unit, Newtype(Inner), Struct { a: u8 }, #[serde(untagged)] Other(Value) }
    });
    let adjacent = sync_type::derive(quote!(#[serde(tag = "t", content = "c")] enum Adjacent { #variants }));
    let untagged = sync_type::derive(quote!(#[serde(untagged)] enum Untagged { #variants }));
    check("an_enum_of_every_kind", quote!(#external #internal #adjacent #untagged));
}

#[test]
fn types_that_are_others() {
    let unit = sync_type::derive(quote!(
        struct Unit;
    ));
    let newtype = sync_type::derive(quote!(
        struct Newtype(Vec<Self>);
    ));
    let transparent = sync_type::derive(quote! {
        #[serde(transparent)]
        struct Transparent<T> { value: u8, marker: PhantomData<T> }
    });
    let both = sync_type::derive(quote!(
        #[serde(from = "String", into = "String")]
        struct Both(u8);
    ));
    let half = sync_type::derive(quote!(
        #[serde(try_from = "String")]
        struct Half(u8);
    ));
    let said = sync_type::derive(quote!(
        #[sync(ts = "string", name = "Text")]
        struct Said(Foreign);
    ));
    check("types_that_are_others", quote!(#unit #newtype #transparent #both #half #said));
}

#[test]
fn a_mistake_leaves_a_stub() {
    check(
        "a_mistake_leaves_a_stub",
        model::derive(quote! {
            struct Todo {
                key: Uuid,
                #[sync(indx)]
                title: String,
            }
        }),
    );
}

#[test]
fn another_name_of_the_crate_is_the_only_one() {
    let model = model::derive(quote! {
        #[sync(crate = "other")]
        struct Todo {
            id: u64,
            #[sync(server_only, index)]
            owner: u64,
        }
    });
    let handlers = handlers::attribute(
        quote!(crud, crate = "other"),
        &quote! {
            impl Todo {
                async fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
                    Ok(draft)
                }
                async fn other(ctx: &Context) {}
            }
        },
    );
    let ty = sync_type::derive(quote! {
        #[sync(crate = "other")]
        enum Kind<T> { A, B(Vec<T>), C { a: u8, #[serde(flatten)] b: T } }
    });
    assert!(!quote!(#model #handlers #ty).to_string().contains("sync_core"));
}
