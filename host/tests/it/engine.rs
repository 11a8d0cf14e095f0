//! The engine, with real components and nothing mocked.

mod admission;
mod hostile;
mod lab;
mod limits;
mod stopping;
mod wat;
