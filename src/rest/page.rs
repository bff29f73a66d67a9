//! Lists, a page at a time: `page_size`, `page_token`, `next_page_token`.
//!
//! A token is the last name of its page, so that a page has no gap and no repeat when names come and
//! go between two requests.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use url::form_urlencoded;

use crate::error::Error;

/// Which page of a list is asked for.
#[derive(Debug)]
pub(super) struct Paging {
    size: usize,
    after: String,
}

impl Paging {
    /// Reads a query; parameters of the resource's own (`others`) are given to `read`.
    ///
    /// # Errors
    ///
    /// `Invalid`, for a value that can't be and for a parameter that nobody knows.
    pub(super) fn read(
        uri: &Uri,
        others: &[&str],
        mut read: impl FnMut(&str, &str) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut paging = Self { size: PAGE, after: String::new() };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()) {
            match name.as_ref() {
                "page_size" => {
                    let size = value.parse().ok().filter(|size| (1..=MOST).contains(size));
                    paging.size = size.ok_or_else(|| {
                        Error::Invalid(format!("`page_size` must be a number from 1 to {MOST}"))
                    })?;
                }
                "page_token" => {
                    let name = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok();
                    paging.after = name.and_then(|name| String::from_utf8(name).ok()).ok_or_else(|| {
                        Error::Invalid("`page_token` must be a `next_page_token` of this list".into())
                    })?;
                }
                own if others.contains(&own) => read(own, &value)?,
                other => {
                    let other: String = other.chars().take(80).collect();
                    let known: String = others.iter().map(|name| format!("{name}, ")).collect();
                    return Err(Error::Invalid(format!(
                        "there is no query parameter {other:?}; known are {known}page_size and page_token"
                    )));
                }
            }
        }
        Ok(paging)
    }

    /// Cuts the page out of a whole list, with the token of the page behind it.
    pub(super) fn cut<T>(&self, list: BTreeMap<String, T>) -> (Vec<T>, Option<String>) {
        let mut behind = list.into_iter().filter(|(name, _)| *name > self.after);
        let (names, page): (Vec<String>, Vec<T>) = behind.by_ref().take(self.size).unzip();
        let next = behind.next().and(names.last()).map(|last| URL_SAFE_NO_PAD.encode(last.as_bytes()));
        (page, next)
    }
}

const PAGE: usize = 100;
const MOST: usize = 1000;
