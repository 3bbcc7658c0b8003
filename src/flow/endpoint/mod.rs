//! DELIVER: what an answer of the endpoint means, and when it may be asked again.

pub mod backoff;
pub mod brake;
pub mod classify;
pub mod gate;
pub mod idempotency_key;
pub mod object_store;
pub mod reply;
pub mod server_page;
pub mod verdict;
pub mod words;
