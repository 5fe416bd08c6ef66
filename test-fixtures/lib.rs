//! Builds the test objects.
