//! The API over a real store, driven as clients drive it.

mod auth;
mod bad_input;
mod client;
mod document;
mod life;
mod reading;
mod schedules;
mod shapes;
mod wire;
