//! For the tests of engines: a scripted model and the conformance kit.
