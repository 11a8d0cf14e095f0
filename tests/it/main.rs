//! Sentinel from the outside: real processes, real sockets, a real Redis.

mod abuse;
mod admission;
mod apart;
mod authors;
mod bad_input;
mod bench;
mod cli;
mod cluster;
mod contract;
mod crashes;
mod effects;
mod faults;
mod grants;
mod redis_faults;
mod schedules;
