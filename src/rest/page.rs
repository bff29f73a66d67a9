//! Queries of lists: `page_size`, `page_token`, and what the resource has besides.

use http::Uri;
use url::form_urlencoded;

use crate::error::Error;
use crate::paging::Paging;

/// Reads a query; parameters of the resource's own (`others`) are given to `read`.
///
/// # Errors
///
/// `Invalid`, for a value that can't be and for a parameter that nobody knows.
pub(super) fn paging(
    uri: &Uri,
    others: &[&str],
    mut read: impl FnMut(&str, &str) -> Result<(), Error>,
) -> Result<Paging, Error> {
    let mut paging = Paging::default();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()) {
        match name.as_ref() {
            "page_size" => paging.size(value.parse().ok())?,
            "page_token" => paging.after(&value)?,
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
