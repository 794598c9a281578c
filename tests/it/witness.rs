//! A check is a value: leaving one out does not compile. Each case is a program that tries.

#[test]
fn what_skips_a_check_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/it/compile_fail/*.rs");
}
