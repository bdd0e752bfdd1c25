//! The one integration binary: a file for each behaviour.

mod config;
mod identity;
mod store_smoke;
mod tidy;
