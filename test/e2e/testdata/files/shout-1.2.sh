#!/bin/sh
# Prints its input in capitals.
exec tr a-z A-Z
