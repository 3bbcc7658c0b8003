//! The HTTP client against servers that do what servers do, right and wrong.

mod answers;
mod bodies;
mod broken;
mod nginx;
mod proxies;
mod requests;
#[path = "../util/skip.rs"]
mod skip;
mod tls;
mod util;
