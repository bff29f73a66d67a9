//! Where messages are: a broker's address, and patterns over addresses.

use std::fmt;
use std::sync::Arc;

/// A broker's own address: a Kafka topic, a NATS subject, `exchange/routing.key`, a log's name.
///
/// Whether an address is legal is the bridge's to say (`Fault::Invalid`). Clones are cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Names a topic by its address.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self(address.into())
    }

    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a subscription reads: one address, or a pattern over addresses.
///
/// Tokens are separated by dots. `*` stands for one token, a last `>` for one or more, as in NATS.
/// `exchange/` may stand ahead of the first one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// A wildcard that is only part of a token, or a `>` that is not last.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut tokens = Self::parts(text).1.split('.').peekable();
        while let Some(token) = tokens.next() {
            match token {
                "*" => {}
                ">" if tokens.peek().is_none() => {}
                ">" => return Err(PatternError::TailNotLast),
                token if token.contains(['*', '>']) => return Err(PatternError::PartOfToken),
                "" => return Err(PatternError::EmptyToken),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// Returns the pattern that matches one address and nothing else.
    ///
    /// The address is taken as it is: what it holds is never read as a wildcard by the caller's
    /// intent, so pass only addresses.
    pub fn exactly(topic: &Topic) -> Self {
        Self(topic.0.clone())
    }

    /// Takes off an exchange, as AMQP has them, that stands ahead of a wildcard: it is no part of a
    /// token.
    fn parts(text: &str) -> (&str, &str) {
        match text.find('/').and_then(|slash| text.split_at_checked(slash + 1)) {
            Some((head, tail)) if tail.starts_with(['*', '>']) && !head.contains(['*', '>']) => (head, tail),
            Some(_) | None => ("", text),
        }
    }

    /// Returns the text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether the pattern can match more than one address.
    pub fn is_wildcard(&self) -> bool {
        Self::parts(&self.0).1.split('.').any(|token| token == "*" || token == ">")
    }

    /// Tells whether `topic` is one of those that the pattern stands for.
    pub fn matches(&self, topic: &Topic) -> bool {
        self.fits(topic.as_str())
    }

    /// Tells whether all that `text` stands for is within this pattern: an address, or itself a pattern.
    ///
    /// What somebody may read is a pattern, and so may be what they ask for: `orders.*` has
    /// `orders.eu` and `orders.*` in it, but not `orders.>`.
    pub fn covers(&self, text: &str) -> bool {
        let open = |text: &str| text.rsplit(['.', '/']).next() == Some(">");
        self.fits(text) && (open(&self.0) || !open(text))
    }

    fn fits(&self, text: &str) -> bool {
        let (head, tail) = Self::parts(&self.0);
        let Some(rest) = text.strip_prefix(head) else { return false };
        let mut tokens = rest.split('.');
        for wanted in tail.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Returns the address, if the pattern stands for exactly one.
    pub fn literal(&self) -> Option<Topic> {
        (!self.is_wildcard()).then(|| Topic(self.0.clone()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Two dots in a row, or one at an end.
    #[error("there is nothing between two dots, or at an end")]
    EmptyToken,
    /// `ab*` or `>c`.
    #[error("a wildcard stands for a whole token between dots: use `orders.*`, not `orders*`")]
    PartOfToken,
    /// `a.>.b`.
    #[error("`>` stands for the rest and must be the last token")]
    TailNotLast,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_token_and_a_tail_is_one_or_more() {
        let cases = [
            ("orders", "orders", true),
            ("orders", "orders.eu", false),
            ("orders.*", "orders.eu", true),
            ("orders.*", "orders", false),
            ("orders.*", "orders.eu.paid", false),
            ("orders.>", "orders.eu.paid", true),
            ("orders.>", "orders", false),
            ("*.paid", "eu.paid", true),
            (">", "orders", true),
            ("shop/>", "shop/orders.eu", true),
            ("shop/*", "shop/orders", true),
            ("shop/*", "shop/orders.eu", false),
            ("shop/>", "store/orders", false),
            ("shop/orders.*", "shop/orders.eu", true),
        ];
        for (pattern, topic, expected) in cases {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(&Topic::new(topic)), expected, "{pattern} {topic}");
        }
    }

    #[test]
    fn a_pattern_covers_what_stands_for_no_more() {
        let cases = [
            ("orders", "orders", true),
            ("orders.*", "orders.eu", true),
            ("orders.*", "orders.*", true),
            ("orders.*", "orders.>", false),
            ("orders.*", ">", false),
            ("orders.eu", "orders.*", false),
            ("orders.>", "orders.>", true),
            ("orders.>", "orders.*", true),
            ("orders.>", "orders.*.paid", true),
            ("orders.>", "orders.eu.>", true),
            ("orders.eu.>", "orders.>", false),
            ("orders.*.>", "orders.>", false),
            ("*", "*", true),
            ("*", ">", false),
            ("*", "shop/>", false),
            ("*.paid", "*.paid", true),
            ("*.*", "orders.>", false),
            (">", ">", true),
            (">", "*.paid", true),
            (">", "a b..c", true),
            ("shop/*", "shop/>", false),
            ("shop/>", "shop/*", true),
            ("shop/>", "store/*", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().covers(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn half_wildcards_are_refused() {
        assert_eq!(Pattern::parse("orders*"), Err(PatternError::PartOfToken));
        assert_eq!(Pattern::parse("a.>.b"), Err(PatternError::TailNotLast));
        assert_eq!(Pattern::parse("*/>"), Err(PatternError::PartOfToken));
        assert_eq!(Pattern::parse("shop/orders*"), Err(PatternError::PartOfToken));
        assert_eq!(Pattern::parse("a..b"), Err(PatternError::EmptyToken));
        assert_eq!(Pattern::parse(""), Err(PatternError::EmptyToken));
    }
}
