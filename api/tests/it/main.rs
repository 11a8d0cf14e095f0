//! The API over a real store, driven as clients drive it.

mod auth;
mod bad_input;
mod browsers;
mod client;
mod dashboard;
mod document;
mod life;
mod metrics;
mod reading;
mod schedules;
mod server;
mod shapes;
mod tls;
mod wire;
