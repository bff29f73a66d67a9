//! What is rendered is kept, so that each change of it is looked at.

use crate::cases::all;
use crate::tools::{assert_kept, root};

#[test]
fn what_is_rendered_is_what_was_looked_at() {
    // Rules and dashboards are files already.
    for case in all().into_iter().filter(|case| case.name != "monitoring") {
        let path = root().join(format!("tests/helm/golden/{}/{}.yaml", case.chart, case.name));
        assert_kept(&path, &case.render());
    }
}

#[test]
fn two_renders_are_equal() {
    for case in all() {
        assert_eq!(case.render(), case.try_render(&[]).printed(), "{} {}", case.chart, case.name);
    }
}

#[test]
fn helm_finds_nothing_to_say_about_them() {
    for case in all() {
        case.helm(&["lint", "--strict", "--quiet"], &[]).printed();
    }
}
