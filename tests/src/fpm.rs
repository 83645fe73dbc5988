//! A php-fpm of the test's own.
