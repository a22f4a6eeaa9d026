//! The types that serde itself knows.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque},
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    num::{NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use super::{Property, SyncType, Type, Types};

macro_rules! plain {
    ($type:ident: $($rust:ty),*) => {$(
        impl SyncType for $rust {
            fn __describe(_: &mut Types) -> Type {
                Type::$type
            }
        }
    )*};
}

plain!(Boolean: bool);
// A float that is no number is written as null; a client cannot send one, and a handler has no reason to.
plain!(Number: u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64);
plain!(Number: NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64);
plain!(Number: serde_json::Number);
plain!(String: str, String, char, Uuid, Path, PathBuf);
plain!(String: IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6);
plain!(Null: ());
plain!(Unknown: serde_json::Value, serde_json::value::RawValue);

impl SyncType for serde_json::Map<String, serde_json::Value> {
    fn __describe(_: &mut Types) -> Type {
        Type::Unknown.record()
    }
}

impl<T: ?Sized> SyncType for PhantomData<T> {
    fn __describe(_: &mut Types) -> Type {
        Type::Null
    }
}

impl SyncType for Duration {
    fn __describe(_: &mut Types) -> Type {
        Type::Object(vec![Property::always("secs", Type::Number), Property::always("nanos", Type::Number)])
    }
}

impl SyncType for SystemTime {
    fn __describe(_: &mut Types) -> Type {
        Type::Object(vec![
            Property::always("secs_since_epoch", Type::Number),
            Property::always("nanos_since_epoch", Type::Number),
        ])
    }
}

impl<T: SyncType> SyncType for Option<T> {
    fn __describe(types: &mut Types) -> Type {
        T::__describe(types).nullable()
    }
}

macro_rules! transparent {
    ($($rust:ty),*) => {$(
        impl<T: SyncType + ?Sized> SyncType for $rust {
            fn __describe(types: &mut Types) -> Type {
                T::__describe(types)
            }
        }
    )*};
}

transparent!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

impl<T: SyncType + ToOwned + ?Sized> SyncType for Cow<'_, T> {
    fn __describe(types: &mut Types) -> Type {
        T::__describe(types)
    }
}

macro_rules! arrays {
    ($($rust:ty),*) => {$(
        impl<T: SyncType> SyncType for $rust {
            fn __describe(types: &mut Types) -> Type {
                T::__describe(types).array()
            }
        }
    )*};
}

arrays!([T], Vec<T>, VecDeque<T>, LinkedList<T>, BTreeSet<T>, BinaryHeap<T>);

impl<T: SyncType, S> SyncType for HashSet<T, S> {
    fn __describe(types: &mut Types) -> Type {
        T::__describe(types).array()
    }
}

impl<T: SyncType, const N: usize> SyncType for [T; N] {
    fn __describe(types: &mut Types) -> Type {
        T::__describe(types).array()
    }
}

// In JSON all keys are strings.
impl<K, V: SyncType> SyncType for BTreeMap<K, V> {
    fn __describe(types: &mut Types) -> Type {
        V::__describe(types).record()
    }
}

impl<K, V: SyncType, S> SyncType for HashMap<K, V, S> {
    fn __describe(types: &mut Types) -> Type {
        V::__describe(types).record()
    }
}

macro_rules! tuples {
    ($(($($part:ident)*))*) => {$(
        impl<$($part: SyncType),*> SyncType for ($($part,)*) {
            fn __describe(types: &mut Types) -> Type {
                Type::Tuple(vec![$($part::__describe(types)),*])
            }
        }
    )*};
}

tuples! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
}
