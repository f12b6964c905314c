package policy

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/hermetic-build/hermetic/cache"
)

const (
	maxSignatures    = 100
	maxSignatureFile = 1 << 18 // bytes
	minRSA           = 2048    // bits
)

// A Key is an SSH public key.
type Key struct {
	Fingerprint string // "SHA256:…", as ssh-keygen -l prints it
	public      ssh.PublicKey
}

// keyTypes are the types of keys that sign; certificates and DSA are not.
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
}

// parseKey reads the line of a .pub file.
func parseKey(s string) (Key, error) {
	if strings.Contains(s, "PRIVATE KEY") {
		return Key{}, errors.New("is a private key; replace it wherever it was used, and give the line of the .pub file")
	}
	public, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(s))
	switch {
	case err != nil || len(rest) > 0:
		return Key{}, errors.New(`is no SSH public key: want the line of a .pub file, "ssh-ed25519 AAAA…"`)
	case len(options) > 0:
		return Key{}, errors.New("options before a key are not used here")
	case !slices.Contains(keyTypes, public.Type()):
		return Key{}, fmt.Errorf("keys of type %s are not accepted: want one of %s", public.Type(), strings.Join(keyTypes, ", "))
	}
	if k, ok := public.(ssh.CryptoPublicKey); ok {
		if r, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < minRSA {
			return Key{}, fmt.Errorf("is an RSA key of %d bits, at least %d", r.N.BitLen(), minRSA)
		}
	}
	return Key{ssh.FingerprintSHA256(public), public}, nil
}

// An armored is one signature of a signature file.
type armored struct {
	line      int // where it begins
	signature *sshsig.Signature
	err       error // why it cannot be read
}

const (
	armorBegin = "-----BEGIN " + sshsig.PEMType + "-----"
	armorEnd   = "-----END " + sshsig.PEMType + "-----"
)

// splitSignatures reads a file of armored signatures, one after the other. What
// lies between them, beside empty lines, is a problem: nobody signed it.
func splitSignatures(file string, data []byte) (list []armored, problems []cache.Problem) {
	complain := func(line int, format string, args ...any) {
		problems = append(problems, cache.Problem{
			Origin: cache.Origin{File: file, Line: line}, Cause: fmt.Sprintf(format, args...),
		})
	}
	if len(data) > maxSignatureFile {
		complain(0, "%d bytes, at most %d", len(data), maxSignatureFile)
		return nil, problems
	}
	number, begin, stray := 0, 0, false
	var block []byte
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case begin > 0:
			if text == armorBegin {
				complain(begin, "the signature has no end")
				begin, block = number, nil
			}
			block = append(append(block, text...), '\n')
			if text == armorEnd {
				s, err := unarmor(block)
				list = append(list, armored{begin, s, err})
				begin, block = 0, nil
			}
		case text == armorBegin:
			begin, block = number, []byte(text+"\n")
		case strings.TrimSpace(text) != "" && !stray:
			stray = true // one line stands for all
			complain(number, "neither a signature nor empty: want %s", armorBegin)
		}
	}
	if begin > 0 {
		complain(begin, "the signature has no end")
	}
	if len(list) > maxSignatures {
		complain(0, "%d signatures, at most %d", len(list), maxSignatures)
		list = nil
	}
	if len(list) == 0 && len(problems) == 0 {
		complain(0, "holds no signature")
	}
	return list, problems
}

// unarmor reads one signature.
func unarmor(block []byte) (*sshsig.Signature, error) {
	if bytes.ContainsRune(block, ':') {
		return nil, errors.New("it has headers") // which nobody signed
	}
	s, err := sshsig.Unarmor(block)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "ssh: "))
	}
	return s, nil
}

// A signing tells which approvers signed a file.
type signing struct {
	by    map[string]string // fingerprints by names of approvers
	notes []string          // what each signature is, for messages
}

// check verifies signatures over data. A signature counts if it is valid and
// by a key of the policy.
func check(list []armored, data []byte, approvers []Approver) signing {
	result := signing{by: map[string]string{}}
	for _, a := range list {
		name, key, cause := a.verify(data, approvers)
		if cause == "" {
			cause = "is by " + name
			result.by[name] = key.Fingerprint
		}
		result.notes = append(result.notes, fmt.Sprintf("the signature of line %d %s", a.line, cause))
	}
	return result
}

// verify finds the approver whose key made the signature; cause says why it
// does not count, and is empty if it does.
func (a armored) verify(data []byte, approvers []Approver) (name string, key Key, cause string) {
	if a.err != nil {
		return "", Key{}, fmt.Sprintf("cannot be read: %s", a.err)
	}
	wire := a.signature.PublicKey.Marshal()
	for _, approver := range approvers {
		for _, k := range approver.Keys {
			if bytes.Equal(wire, k.public.Marshal()) {
				name, key = approver.Name, k
			}
		}
	}
	if name == "" {
		return "", Key{}, fmt.Sprintf("is by %s, which is no key of the policy", ssh.FingerprintSHA256(a.signature.PublicKey))
	}
	err := sshsig.Verify(bytes.NewReader(data), a.signature, key.public, a.signature.HashAlgorithm, Namespace)
	switch {
	case errors.Is(err, sshsig.ErrNamespaceMismatch):
		return "", Key{}, fmt.Sprintf("is by %s for the namespace %q, not %q", name, a.signature.Namespace, Namespace)
	case err != nil:
		return "", Key{}, fmt.Sprintf("is by %s, and not of the file as it is now", name)
	}
	return name, key, ""
}
