// Package script reads what the RUN instructions of a Dockerfile hand to a
// shell or a program, without running it: which commands certainly need the
// network, which programs are started, which environment files are sourced. It
// is pure, and what it cannot read it says nothing of.
//
// Which name to reach for:
//
//	NewFile         once for a Dockerfile: its raw lines, to find places again
//	File.Run        once for an instruction, with the Settings in effect there
//	Args            the same of the arguments of a process, as graphs have them
//	Run.Fetches     commands that certainly need the network
//	Run.Uses        programs, and whether these are all
//	IsPlain         whether one of these works on files alone
//	Run.EnvFiles    environment files that are sourced without a test
//
// The way of a text:
//
//	lines of the Dockerfile --join--> instruction --SHELL--> arguments of a process
//	                                                              |
//	        bash -c TEXT, sudo, env, xargs, sh <<EOF, eval <------+  unwrapped until
//	                    |                                         |  a program is left
//	                    +--> parsed by mvdan.cc/sh, walked -------+
//
// The walk follows the shell from command to command and knows of each whether
// it is reached for certain, and whether anybody minds that it fails:
//
//	apt-get update && curl …         both are reached, or the build has failed already
//	[ -f x ] && curl …               perhaps: a test may be false
//	curl … || true                   reached, but tolerated
//	curl … || exit 1                 reached, and minded
//	curl …; exit 0                   reached, but tolerated
//	if …; then curl …; fi            perhaps
//	for i in 1 2; do curl …; done    reached
//	f() { curl …; }                  only where f is called
//
// Only what is reached for certain and minded is reported. The programs table
// says which commands of which programs go to the network, with which options
// they do not, and which package type would cover them.
package script
