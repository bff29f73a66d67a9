//! How much a client is willing to be handed.

use crate::delivery::Amount;
use crate::error::Error;

/// Messages, and bytes if the client counts them. A message may be larger than what is left of the bytes;
/// then there is a debt, which further credit pays first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Credit {
    messages: u64,
    bytes: Option<i64>,
}

impl Credit {
    /// Adds what a client gives.
    ///
    /// # Errors
    ///
    /// `Invalid`: it gives nothing, or more than anybody can mean.
    pub(super) fn give(&mut self, messages: u64, bytes: Option<u64>) -> Result<(), Error> {
        if messages == 0 && bytes.unwrap_or(0) == 0 {
            return Err(Error::Invalid("credit must be for at least one message or byte".into()));
        }
        let too_much = || Error::Invalid(format!("there is more credit than for {MOST} messages or bytes"));
        let sum = self.messages.checked_add(messages).filter(|sum| *sum <= MOST).ok_or_else(too_much)?;
        if let Some(more) = bytes {
            let more = i64::try_from(more).map_err(|_| too_much())?;
            let bytes = self.bytes.unwrap_or(0).checked_add(more);
            self.bytes = Some(bytes.filter(|sum| sum.unsigned_abs() <= MOST).ok_or_else(too_much)?);
        }
        self.messages = sum;
        Ok(())
    }

    /// Takes a message of so many bytes.
    pub(super) fn take(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.map(|left| left.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX)));
    }

    /// Puts back what [`Credit::take`] took.
    pub(super) fn refund(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.map(|left| left.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX)));
    }

    /// Returns what may be fetched, within `most`; `None` for nothing.
    pub(super) fn amount(&self, most: Amount) -> Option<Amount> {
        let bytes = match self.bytes {
            None => most.bytes,
            Some(left) => usize::try_from(left).ok().filter(|left| *left > 0)?.min(most.bytes),
        };
        let messages = usize::try_from(self.messages).unwrap_or(usize::MAX).min(most.messages);
        (messages > 0).then_some(Amount { messages, bytes })
    }
}

/// Whoever gives more has counted wrongly.
const MOST: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Amount = Amount { messages: 64, bytes: 1000 };

    #[test]
    fn without_bytes_only_messages_count() {
        let mut credit = Credit::default();
        assert_eq!(credit.amount(MOST), None);
        credit.give(2, None).unwrap();
        credit.take(5000);
        assert_eq!(credit.amount(MOST), Some(Amount { messages: 1, bytes: 1000 }));
        credit.take(1);
        assert_eq!(credit.amount(MOST), None);
        credit.refund(1);
        assert!(credit.amount(MOST).is_some());
    }

    #[test]
    fn a_large_message_leaves_a_debt() {
        let mut credit = Credit::default();
        credit.give(10, Some(100)).unwrap();
        assert_eq!(credit.amount(MOST), Some(Amount { messages: 10, bytes: 100 }));
        credit.take(500);
        assert_eq!(credit.amount(MOST), None);
        credit.give(0, Some(400)).unwrap();
        assert_eq!(credit.amount(MOST), None);
        credit.give(0, Some(1)).unwrap();
        assert_eq!(credit.amount(MOST), Some(Amount { messages: 9, bytes: 1 }));
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        let mut credit = Credit::default();
        for (messages, bytes) in
            [(0, None), (0, Some(0)), (u64::MAX, None), (1, Some(u64::MAX)), (1, Some(1 << 62))]
        {
            assert!(credit.give(messages, bytes).is_err(), "{messages} {bytes:?}");
        }
        assert_eq!(credit, Credit::default());
    }
}
