//! Stores: what every backend promises, and what transactions, files and history promise on top of it.

mod conformance;
mod crash;
mod files;
mod format;
mod guards;
mod model;
mod objects;
mod transactions;
