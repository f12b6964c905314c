package main

// An image that holds this program alone has no certificates; on a machine that
// has some, these are not used.
import _ "golang.org/x/crypto/x509roots/fallback"
