//! Real endpoints and real proxies, from Debian's packages, npm and cargo's registry. What is not installed is said
//! and skipped; `.ci/run` installs all of it.

mod oauth;
mod page;
mod proxies;
mod s3;
mod servers;
mod service;
mod stores;
