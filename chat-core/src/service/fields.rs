//! Checking what a request holds: all that is wrong with it is said at once.

use super::Error;
use crate::model::limits::{PAGE_LIMIT, PAGE_LIMIT_DEFAULT, TextError};
use crate::protocol::FieldError;

/// What is wrong with a request so far.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<FieldError>);

impl Fields {
    /// Notes what is wrong with a text, if anything is.
    pub(crate) fn text(&mut self, field: &str, checked: Result<(), TextError>) {
        if let Err(e) = checked {
            self.0.push(FieldError::new(field, e.code(), e.detail()));
        }
    }

    /// `validation_failed` with all that was noted.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::fields(self.0))
        }
    }
}

/// The items of a page: as many as were asked for, if that is allowed.
pub(crate) fn page_limit(asked: Option<i64>) -> Result<i64, Error> {
    let limit = asked.unwrap_or(PAGE_LIMIT_DEFAULT);
    if PAGE_LIMIT.contains(&limit) {
        Ok(limit)
    } else {
        let (min, max) = (PAGE_LIMIT.start(), PAGE_LIMIT.end());
        Err(Error::field(
            "limit",
            "out_of_range",
            format!("must be {min} to {max}"),
        ))
    }
}
