// Package policy knows what an organisation demands of builds and what a
// repository may ask for: the level that a build must reach, the registries that
// images may come from, and the exceptions that are granted, by whom and for how
// long. It is pure: files come as bytes, the time as an argument.
//
// Which name to reach for:
//
//	ParsePolicy    the organisation's policy.yaml
//	ParseProject   a repository's hermetic.yaml
//	Combine        both, and the signatures, into the Terms of one build
//	Terms          asked for each finding: is there an exception for it?
//	Level          what a build may claim
//	Rule           what the parsers must know of a rule; package preflight says it
//	Issue          something wrong with an exception, under the name of its rule
//
// hermetic.yaml, all keys optional:
//
//	level: sealed
//	strict: true
//	exceptions:
//	  - value: UnpinnedImage:example.com/golang:1.26   # rule, or rule:place
//	    reason: …
//	    approvedBy: …
//	    effectiveOn: 2026-10-01                        # optional
//	    effectiveUntil: 2026-12-31
//	    reference: …                                   # optional
//
// policy.yaml:
//
//	level: sealed
//	strict: true
//	registries: [example.com, example.org:5000/base]
//	exceptions:
//	  rules: [UnpinnedImage]
//	  approvers:
//	    - name: …
//	      keys: [ssh-ed25519 …]
//	  signed: true
//	  longest: 90d
//	standing: []                                       # as exceptions above
//
// docs/policy.md describes both for their authors.
package policy
