//! Lists, a page at a time: so many, and a token for the next page.
//!
//! A token is the last name of its page, so that a page has no gap and no repeat when names come and
//! go between two requests.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::Error;

/// Which page of a list is asked for.
#[derive(Debug)]
pub struct Paging {
    size: usize,
    after: String,
}

impl Default for Paging {
    fn default() -> Self {
        Self { size: PAGE, after: String::new() }
    }
}

impl Paging {
    /// Sets how many a page has.
    ///
    /// # Errors
    ///
    /// `Invalid`, if that is none or too many.
    pub fn size(&mut self, size: Option<usize>) -> Result<(), Error> {
        let size = size.filter(|size| (1..=MOST).contains(size));
        self.size =
            size.ok_or_else(|| Error::Invalid(format!("`page_size` must be a number from 1 to {MOST}")))?;
        Ok(())
    }

    /// Goes on behind an earlier page.
    ///
    /// # Errors
    ///
    /// `Invalid`, if this is no token.
    pub fn after(&mut self, token: &str) -> Result<(), Error> {
        let name = URL_SAFE_NO_PAD.decode(token.as_bytes()).ok();
        self.after = name
            .and_then(|name| String::from_utf8(name).ok())
            .ok_or_else(|| Error::Invalid("`page_token` must be a `next_page_token` of this list".into()))?;
        Ok(())
    }

    /// Cuts the page out of a whole list, with the token of the page behind it.
    pub fn cut<T>(&self, list: BTreeMap<String, T>) -> (Vec<T>, Option<String>) {
        let mut behind = list.into_iter().filter(|(name, _)| *name > self.after);
        let (names, page): (Vec<String>, Vec<T>) = behind.by_ref().take(self.size).unzip();
        let next = behind.next().and(names.last()).map(|last| URL_SAFE_NO_PAD.encode(last.as_bytes()));
        (page, next)
    }
}

const PAGE: usize = 100;
const MOST: usize = 1000;
