//! Files and variables that nobody meant.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_file_is_understood_or_refused_by_its_name(
        toml in any::<bool>(),
        words in prop::collection::vec(
            prop::sample::select(vec![
                "version", "service", "bridges", "topics", "subscriptions", "limits", "push", "url", "kind",
                "embedded", "main", "orders", "1", "5s", "1MiB", "true", "null", ": ", ":\n  ", ":\n    ", " = ",
                "\n", "- ", "[", "]", "{", "}", ",", "\"", "'", "&a ", "*a", "!t ", "<<", "|", "\t", "é", "\0",
            ]),
            0..40,
        ),
    ) {
        let name = if toml { "c.toml" } else { "c.yaml" };
        if let Err(errors) = read(name, &words.concat(), &[]) {
            let said = errors.to_string();
            prop_assert!(said.lines().all(|line| line.contains(name)), "{}", said);
        }
    }

    #[test]
    fn any_variable_is_understood_or_refused_by_its_name(
        path in prop::collection::vec(
            prop::sample::select(vec![
                "LIMITS", "TIMEOUT", "MAX_MESSAGE", "BRIDGES", "MAIN", "DIR", "PASSWORD", "TOPICS", "ORDERS", "",
                "SUBSCRIPTIONS", "billing", "é", "0",
            ]),
            1..4,
        ),
        value in any::<String>(),
    ) {
        let variable = format!("SIDESPAN__{}", path.join("__"));
        if let Err(errors) = with(&[(&variable, &value)]) {
            let said = errors.to_string();
            prop_assert!(said.contains("SIDESPAN__"), "{}", said);
        }
    }
}
