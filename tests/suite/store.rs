//! Stores: what every backend promises, and what transactions, files and history promise on top of it.

mod conformance;
mod crash;
mod files;
mod model;
mod transactions;
