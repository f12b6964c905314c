package policy_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/hermetic-build/hermetic/frontend/policy"
)

// approvers are those of testdata/signatures, whose files ssh-keygen made; see
// make.sh there.
var approvers = []string{"ed25519", "rsa", "ecdsa256", "ecdsa384", "ecdsa521"}

// signedPolicy demands signatures of approvers with these keys.
func signedPolicy(t testing.TB, keys map[string]string) *policy.Policy {
	t.Helper()
	var b strings.Builder
	b.WriteString("exceptions:\n  signed: true\n  approvers:\n")
	for name, key := range keys {
		fmt.Fprintf(&b, "    - name: %s\n      keys: [%q]\n", name, strings.TrimSpace(key))
	}
	return mustPolicy(t, b.String())
}

// fixturePolicy has the approvers of testdata/signatures.
func fixturePolicy(t testing.TB) *policy.Policy {
	keys := map[string]string{}
	for _, name := range approvers {
		keys[name] = string(fixture(t, "signatures/"+name+".pub"))
	}
	return signedPolicy(t, keys)
}

// signers combines and tells whose exceptions are granted, and the issues.
func signers(t testing.TB, p *policy.Policy, project, signatures []byte) (granted []string, issues string) {
	t.Helper()
	terms, found := policy.Combine(policy.Inputs{
		Policy: p, Project: mustProject(t, string(project)), Signatures: signatures, Now: now,
	})
	for _, name := range approvers {
		e, ok := terms.Grant("UnpinnedImage", "example.com/"+name)
		if !ok {
			continue
		}
		granted = append(granted, name)
		if !strings.HasPrefix(e.SignedBy, "SHA256:") {
			t.Errorf("%s: signed by %q", name, e.SignedBy)
		}
	}
	var lines []string
	for _, i := range found {
		lines = append(lines, i.Rule+": "+i.String())
	}
	return granted, strings.Join(lines, "\n")
}

// TestOpenSSH: signatures by the real ssh-keygen grant the exceptions of their
// key's owner, and no others.
func TestOpenSSH(t *testing.T) {
	project, p := fixture(t, "signatures/hermetic.yaml"), fixturePolicy(t)
	for _, hash := range []string{"sha256", "sha512"} {
		var all []byte
		for _, name := range approvers {
			signature := fixture(t, "signatures/"+name+"-"+hash+".sig")
			all = append(append(all, signature...), '\n')
			granted, _ := signers(t, p, project, signature)
			if diff := cmp.Diff([]string{name}, granted); diff != "" {
				t.Errorf("%s, %s: -want +got\n%s", name, hash, diff)
			}
		}
		granted, issues := signers(t, p, project, all)
		if diff := cmp.Diff(approvers, granted); diff != "" || issues != "" {
			t.Errorf("%s, all: -want +got\n%s%s", hash, diff, issues)
		}
	}
}

// TestBadSignatures: what is wrong with a file of signatures is said for the
// exceptions that lack one.
func TestBadSignatures(t *testing.T) {
	project, p := fixture(t, "signatures/hermetic.yaml"), fixturePolicy(t)
	good := string(fixture(t, "signatures/ed25519-sha512.sig"))
	other := string(fixture(t, "signatures/rsa-sha512.sig"))
	lines := strings.SplitAfter(good, "\n")
	middle := strings.Join(lines[1:len(lines)-2], "")
	const begin, end = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"
	for _, c := range []struct {
		name, signatures string
		want             []string // the granted
		issue            string   // of the file
		missing          string   // why ed25519's exception is not granted
	}{
		{"crlf", strings.ReplaceAll(good, "\n", "\r\n"), approvers[:1], "", ""},
		{"no last line break", strings.TrimSuffix(good, "\n"), approvers[:1], "", ""},
		{"twice", good + good, approvers[:1], "", ""},
		{"two", "\n\n" + good + "\n \n" + other + "\n", approvers[:2], "", ""},
		{"empty", "", nil, "hermetic.yaml.sig: holds no signature", "has no valid signature by ed25519"},
		{"blank", " \n\n", nil, "hermetic.yaml.sig: holds no signature", "has no valid signature by ed25519"},
		{"garbage", "\x00\x01\xff\n", nil, "hermetic.yaml.sig:1: neither a signature nor empty: want -----BEGIN SSH SIGNATURE-----", "has no valid signature by ed25519"},
		{"truncated", strings.Join(lines[:3], ""), nil, "hermetic.yaml.sig:1: the signature has no end", "has no valid signature by ed25519"},
		{"trailing garbage", good + "x\ny\n", approvers[:1], "hermetic.yaml.sig:7: neither a signature nor empty: want -----BEGIN SSH SIGNATURE-----", ""},
		{"leading garbage", "approved\n" + good, approvers[:1], "hermetic.yaml.sig:1: neither a signature nor empty: want -----BEGIN SSH SIGNATURE-----", ""},
		{"begun twice", lines[0] + good, approvers[:1], "hermetic.yaml.sig:1: the signature has no end", ""},
		{"no body", begin + end, nil, "", "has no valid signature by ed25519: the signature of line 1 cannot be read: parse error in message type 0"},
		{"no base64", begin + "!!!!\n" + end, nil, "", "has no valid signature by ed25519: the signature of line 1 cannot be read: invalid PEM block"},
		{"a line less", begin + strings.Join(lines[2:], ""), nil, "", "has no valid signature by ed25519: the signature of line 1 cannot be read: invalid PEM block"},
		{"headers", begin + "Proc-Type: 4\n\n" + middle + end, nil, "", "has no valid signature by ed25519: the signature of line 1 cannot be read: it has headers"},
		{"stranger", string(fixture(t, "signatures/stranger-sha512.sig")), nil, "", "is no key of the policy"},
		{"namespace", string(fixture(t, "signatures/namespace.sig")), nil, "", `has no valid signature by ed25519: the signature of line 1 is by ed25519 for the namespace "file", not "hermetic"`},
		{"other file", string(fixture(t, "signatures/otherfile.sig")), nil, "", "has no valid signature by ed25519: the signature of line 1 is by ed25519, and not of the file as it is now"},
		{"other approver", other, approvers[1:2], "", "has no valid signature by ed25519: the signature of line 1 is by rsa"},
		{"too many", strings.Repeat(good, 101), nil, "hermetic.yaml.sig: 101 signatures, at most 100", "has no valid signature by ed25519"},
		{"too long", strings.Repeat("\n", 1<<18) + good, nil, "hermetic.yaml.sig: 262446 bytes, at most 262144", "has no valid signature by ed25519"},
		{"many others", strings.Repeat(other, 5), approvers[1:2], "", "has no valid signature by ed25519: the signature of line 1 is by rsa; the signature of line 20 is by rsa; the signature of line 39 is by rsa; 2 more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			granted, issues := signers(t, p, project, []byte(c.signatures))
			if diff := cmp.Diff(c.want, granted); diff != "" {
				t.Errorf("granted: -want +got\n%s", diff)
			}
			var ofFile, ofException string
			for line := range strings.Lines(issues) {
				line = strings.TrimSuffix(line, "\n")
				if rest, ok := strings.CutPrefix(line, "InvalidException: hermetic.yaml.sig"); ok {
					ofFile += "hermetic.yaml.sig" + rest
				} else if rest, ok := strings.CutPrefix(line, "InvalidException: hermetic.yaml:3: UnpinnedImage:example.com/ed25519: "); ok {
					ofException += rest
				}
			}
			if diff := cmp.Diff(c.issue, ofFile); diff != "" {
				t.Errorf("issue of the file: -want +got\n%s", diff)
			}
			if c.name == "stranger" && strings.HasSuffix(ofException, c.missing) {
				return
			}
			if diff := cmp.Diff(c.missing, ofException); diff != "" {
				t.Errorf("issue of the exception: -want +got\n%s", diff)
			}
		})
	}
}

// TestAnyByte: a signature is of each byte of the file, and of nothing else.
func TestAnyByte(t *testing.T) {
	project, p := fixture(t, "signatures/hermetic.yaml"), fixturePolicy(t)
	signature := fixture(t, "signatures/ed25519-sha512.sig")
	for name, changed := range map[string][]byte{
		"comment":       bytes.Replace(project, []byte("# Everyone"), []byte("# everyone"), 1),
		"end":           append(bytes.Clone(project), '\n'),
		"line breaks":   bytes.ReplaceAll(project, []byte("\n"), []byte("\r\n")),
		"another until": bytes.Replace(project, []byte("2027-06-30"), []byte("2037-06-30"), 1),
	} {
		if granted, _ := signers(t, p, changed, signature); len(granted) > 0 {
			t.Errorf("%s: granted %v", name, granted)
		}
	}
}

// TestNotDemanded: without the demand nobody looks at signatures.
func TestNotDemanded(t *testing.T) {
	p := mustPolicy(t, "level: none")
	terms, issues := policy.Combine(policy.Inputs{
		Policy: p, Project: mustProject(t, string(fixture(t, "signatures/hermetic.yaml"))), Signatures: []byte("garbage"), Now: now,
	})
	if len(issues) > 0 {
		t.Errorf("issues: %v", issues)
	}
	if e, ok := terms.Grant("UnpinnedImage", "example.com/rsa"); !ok || e.SignedBy != "" {
		t.Errorf("granted: %v %t", e, ok)
	}
}

// sign makes a signature with the library.
func sign(t testing.TB, signer ssh.Signer, hash sshsig.HashAlgorithm, data []byte) []byte {
	t.Helper()
	s, err := sshsig.Sign(bytes.NewReader(data), signer, hash, policy.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	return sshsig.Armor(s)
}

// TestFreshKeys: keys and signatures of every type made here and now.
func TestFreshKeys(t *testing.T) {
	keys := map[string]any{}
	var err error
	if _, keys["ed25519"], err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	if keys["rsa"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	for name, curve := range map[string]elliptic.Curve{"ecdsa256": elliptic.P256(), "ecdsa384": elliptic.P384(), "ecdsa521": elliptic.P521()} {
		if keys[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	project := fixture(t, "signatures/hermetic.yaml")
	for name, key := range keys {
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		p := signedPolicy(t, map[string]string{name: string(ssh.MarshalAuthorizedKey(signer.PublicKey()))})
		for _, hash := range []sshsig.HashAlgorithm{sshsig.HashSHA256, sshsig.HashSHA512} {
			granted, _ := signers(t, p, project, sign(t, signer, hash, project))
			if diff := cmp.Diff([]string{name}, granted); diff != "" {
				t.Errorf("%s, %s: -want +got\n%s", name, hash, diff)
			}
		}
	}
}

// A securityKey signs like a hardware key that somebody touched or did not.
type securityKey struct {
	private ed25519.PrivateKey
	flags   byte
}

const application = "ssh:"

func (k securityKey) PublicKey() ssh.PublicKey {
	public := k.private.Public().(ed25519.PublicKey)
	wire := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, application})
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		panic(err)
	}
	return key
}

// Sign is as OpenSSH's PROTOCOL.u2f describes.
func (k securityKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	app, message := sha256.Sum256([]byte(application)), sha256.Sum256(data)
	tail := []byte{k.flags, 0, 0, 0, 7} // the counter is of four bytes
	blob := bytes.Join([][]byte{app[:], tail, message[:]}, nil)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.private, blob), Rest: tail}, nil
}

// TestSecurityKey: a hardware key has to be touched.
func TestSecurityKey(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	project := fixture(t, "signatures/hermetic.yaml")
	for flags, want := range map[byte][]string{1: {"rsa"}, 5: {"rsa"}, 0: nil, 4: nil} {
		key := securityKey{private, flags}
		p := signedPolicy(t, map[string]string{"rsa": string(ssh.MarshalAuthorizedKey(key.PublicKey()))})
		granted, _ := signers(t, p, project, sign(t, key, sshsig.HashSHA512, project))
		if diff := cmp.Diff(want, granted); diff != "" {
			t.Errorf("flags %d: -want +got\n%s", flags, diff)
		}
	}
}
