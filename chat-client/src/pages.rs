//! Lists read to their end.

use std::future::Future;

use chat_core::model::limits::PAGE_LIMIT;
use chat_core::protocol::rest::{ListQuery, Page};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::error::{Error, Result};

/// The items of a list that pages by the last id seen, each page asked for when its first item is wanted. The stream
/// ends after the first error.
pub(crate) fn pages<T, F, Fut>(
    read: F,
    id: fn(&T) -> i64,
) -> impl Stream<Item = Result<T>> + Send + use<T, F, Fut>
where
    T: Send + 'static,
    F: Fn(ListQuery) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Page<T>>> + Send + 'static,
{
    paged(
        move |after| {
            read(ListQuery {
                limit: Some(*PAGE_LIMIT.end()),
                after,
            })
        },
        id,
    )
}

/// As [`pages`], for a list with a query of its own. `next` is what the page after an item is asked with.
pub(crate) fn paged<T, K, F, Fut>(
    read: F,
    next: fn(&T) -> K,
) -> impl Stream<Item = Result<T>> + Send + use<T, K, F, Fut>
where
    T: Send + 'static,
    K: Send + 'static,
    F: Fn(Option<K>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Page<T>>> + Send + 'static,
{
    enum Next<K> {
        Page(Option<K>),
        End,
    }
    stream::try_unfold((read, Next::Page(None)), move |(read, after)| async move {
        let Next::Page(after) = after else {
            return Ok::<_, Error>(None);
        };
        let page = read(after).await?;
        let after = match page.items.last() {
            Some(last) if page.has_more => Next::Page(Some(next(last))),
            _ => Next::End,
        };
        Ok(Some((page.items, (read, after))))
    })
    .map_ok(|items| stream::iter(items).map(Ok))
    .try_flatten()
}
