//! What the compiler says about each mistake: one file each, and beside it what is printed.
//!
//! After a change of a message, `TRYBUILD=overwrite cargo test -p sync-tests-macros --test messages` writes them anew.

#[test]
fn of_models() {
    trybuild::TestCases::new().compile_fail("tests/ui/model/*.rs");
}

#[test]
fn of_types() {
    trybuild::TestCases::new().compile_fail("tests/ui/types/*.rs");
}

#[test]
fn of_handlers() {
    trybuild::TestCases::new().compile_fail("tests/ui/handlers/*.rs");
}
