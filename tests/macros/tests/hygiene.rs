//! The macros' code stands in modules where nothing means what it usually does.

#![forbid(unsafe_code)]
#![deny(warnings)]

use sync_core::SyncedModel;

/// Every name that careless generated code would use is another thing here.
mod shadowed {
    #![allow(dead_code)]

    pub(crate) struct Result;
    pub(crate) struct Option;
    pub(crate) struct Vec;
    pub(crate) struct String;
    pub(crate) struct Box;
    pub(crate) struct Some;
    pub(crate) struct None;
    pub(crate) struct Ok;
    pub(crate) struct Err;
    pub(crate) struct Default;
    pub(crate) struct Clone;
    pub(crate) struct Field;
    pub(crate) struct Context;
    pub(crate) struct Wire;
    pub(crate) struct Draft;
    pub(crate) mod std {}
    pub(crate) mod core {}
    pub(crate) mod alloc {}
    pub(crate) mod serde {}
    pub(crate) mod inventory {}
    pub(crate) mod sync_core {}

    #[derive(
        ::core::clone::Clone,
        ::core::fmt::Debug,
        ::serde::Serialize,
        ::serde::Deserialize,
        ::sync_core::SyncedModel,
    )]
    pub(crate) struct Model {
        pub(crate) id: u64,
        #[sync(index)]
        text: ::std::string::String,
        #[sync(read_only)]
        at: ::core::option::Option<i64>,
        #[sync(server_only)]
        secret: u8,
    }

    #[derive(::serde::Serialize, ::serde::Deserialize, ::sync_core::SyncType)]
    #[serde(bound = "")]
    pub(crate) enum Type<'a, const N: usize, T>
    where
        T: ::sync_core::SyncedModel,
    {
        Types {
            #[serde(borrow)]
            text: ::std::borrow::Cow<'a, str>,
            #[serde(flatten)]
            model: Within,
        },
        #[serde(skip)]
        Array([T; N]),
    }

    #[derive(::serde::Serialize, ::serde::Deserialize, ::sync_core::SyncType)]
    pub(crate) struct Within {
        types: ::std::vec::Vec<Self>,
    }

    #[::sync_core::sync_handlers]
    impl Model {
        async fn create(_: &::sync_core::Context, draft: Model) -> ::sync_core::Result<Model> {
            ::core::result::Result::Ok(draft)
        }

        async fn read(_: &::sync_core::Context) -> ::sync_core::Result<::sync_core::Filter<Model>> {
            ::core::result::Result::Ok(Model::TEXT.eq("x"))
        }
    }
}

mod raw_names {
    use serde::{Deserialize, Serialize};
    use sync_core::{Context, Result, SyncedModel, sync_handlers};

    #[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
    #[allow(non_camel_case_types)]
    pub(crate) struct r#struct {
        pub(crate) r#id: u64,
        #[sync(index)]
        pub(crate) r#type: String,
        #[sync(server_only)]
        r#fn: u8,
    }

    #[sync_handlers(crud)]
    impl r#struct {
        async fn r#create(_: &Context, r#draft: Self) -> Result<Self> {
            Ok(draft)
        }
    }
}

/// Fields and methods with the names of everything that the macros add or call.
mod own_names {
    use serde::{Deserialize, Serialize};
    use sync_core::{Context, Filter, Result, SyncedModel, sync_handlers};

    #[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
    pub(crate) struct Own {
        pub(crate) id: u64,
        pub(crate) name: String,
        pub(crate) serializer: String,
        pub(crate) current: String,
        pub(crate) schema: String,
        #[sync(server_only)]
        pub(crate) fields: u8,
    }

    impl Own {
        pub(crate) fn id(&self) -> u64 {
            self.id
        }

        pub(crate) fn wire(&self) -> &str {
            &self.name
        }

        pub(crate) fn draft() -> Self {
            Self::default()
        }

        pub(crate) fn of() -> Self {
            Self::draft()
        }
    }

    /// A trait with methods of the same names for everything.
    #[allow(dead_code)]
    trait Extension {
        fn draft(&self) {}
        fn row(&self) {}
        fn rows(&self) {}
        fn current(&self) {}
        fn map(&self) {}
    }

    impl<T> Extension for T {}

    #[sync_handlers]
    impl Own {
        async fn create(context: &Context, input: Own) -> Result<Own> {
            let _ = context;
            Ok(input)
        }

        async fn update(_: &Context, current: &Own, next: Own) -> Result<Own> {
            Ok(Own { current: current.current.clone(), ..next })
        }

        async fn delete(_: &Context, _: &Own) -> Result<()> {
            Ok(())
        }

        async fn read(_: &Context) -> Result<Filter<Own>> {
            Ok(Filter::all())
        }
    }
}

macro_rules! model {
    ($(#[$attribute:meta])* $model:ident, $id:ident: $id_type:ty, $name:literal, $($field:ident: $type:ty = $default:expr,)*) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, ::serde::Serialize, ::serde::Deserialize, ::sync_core::SyncedModel)]
        #[sync(name = $name)]
        pub(crate) struct $model {
            #[sync(id)]
            pub(crate) $id: $id_type,
            $(
                #[sync(index)]
                #[serde(default = $default)]
                pub(crate) $field: $type,
            )*
        }

        #[::sync_core::sync_handlers(crud)]
        impl $model {
            async fn create(ctx: &::sync_core::Context, draft: $model) -> ::sync_core::Result<Self> {
                let _ = ctx;
                Ok(draft)
            }

            async fn read(_: &::sync_core::Context) -> ::sync_core::Result<::sync_core::Filter<$model>> {
                Ok(::sync_core::Filter::all())
            }
        }
    };
}

fn zero() -> u8 {
    0
}

model! {
    /// Out of a macro.
    FromMacro, key: u64, "out_of_macro", count: u8 = "zero", list: Vec<u8> = "Vec::new",
}

/// What another name of the crate may look like.
mod facade {
    pub(crate) use ::sync_core::__private;
}

mod renamed {
    use serde::{Deserialize, Serialize};
    use sync_core::{Context, Filter, Result, SyncedModel, sync_handlers};

    #[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
    #[sync(crate = "crate::facade")]
    pub(crate) struct Renamed {
        pub(crate) id: u64,
        #[sync(server_only)]
        pub(crate) secret: u8,
    }

    #[sync_handlers(crate = "super::facade")]
    impl Renamed {
        async fn read(_: &Context) -> Result<Filter<Renamed>> {
            Ok(Filter::all())
        }
    }
}

#[test]
fn they_all_are_models() {
    fn name<M: SyncedModel>() -> &'static str {
        M::NAME
    }

    let names = [
        name::<shadowed::Model>(),
        name::<raw_names::r#struct>(),
        name::<own_names::Own>(),
        name::<FromMacro>(),
        name::<renamed::Renamed>(),
    ];
    assert_eq!(names, ["Model", "struct", "Own", "out_of_macro", "Renamed"]);
    assert_eq!(raw_names::r#struct::TYPE.name(), "type");
    assert_eq!((own_names::Own::of().id(), own_names::Own::of().wire()), (0, ""));
    assert_eq!(FromMacro::COUNT.name(), "count");
    let row: FromMacro = sync_core::__private::decode_draft(r#"{"key":3}"#).unwrap();
    assert_eq!((row.key, row.count, row.list), (3, 0, Vec::new()));
    let row = renamed::Renamed { id: 1, secret: 2 };
    let mut json = Vec::new();
    row.__serialize_wire(&mut serde_json::Serializer::new(&mut json)).unwrap();
    assert_eq!(json, br#"{"id":1}"#);
}
