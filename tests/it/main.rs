//! Sentinel from the outside: real processes, real sockets, a real Redis.

mod abuse;
mod admission;
mod apart;
mod authors;
mod backup;
mod bad_input;
mod bench;
mod browser;
mod cli;
mod cluster;
mod completions;
mod configuration;
mod contract;
mod crashes;
mod docs;
mod doctor;
mod door;
mod effects;
mod faults;
mod grants;
mod keys;
mod origins;
mod redis_faults;
mod schedules;
mod tls;
