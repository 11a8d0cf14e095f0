//! Sentinel from the outside: real processes, real sockets, a real Redis.

mod admission;
mod apart;
mod cli;
mod cluster;
mod contract;
mod crashes;
mod faults;
mod redis_faults;
mod schedules;
