//! Every case of `dsl-host plugin check`.

dsl_testkit::conformance_test!(table);
