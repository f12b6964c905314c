package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sshd is OpenSSH's server on loopback; its accounts are this machine's.
type sshd struct {
	port  string
	known string // the line of known_hosts
	keys  string // the file of the keys that may log in
}

// serveSSH starts a server. It needs OpenSSH's, and root: without these the test
// is skipped.
func serveSSH(t *testing.T) *sshd {
	t.Helper()
	for _, program := range []string{"/usr/sbin/sshd", "/usr/bin/ssh-keygen", "/usr/bin/ssh-agent", "/usr/bin/ssh-add"} {
		if _, err := os.Stat(program); err != nil || os.Getuid() != 0 {
			t.Skipf("needs root and %s", program)
		}
	}
	dir := t.TempDir()
	s := &sshd{keys: filepath.Join(dir, "authorized")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	l.Close()
	host := keygen(t, filepath.Join(dir, "host"), "")
	s.known = "[127.0.0.1]:" + s.port + " " + host
	// Root's shell reads no settings of this machine where it has another home.
	config := fmt.Sprintf("Port %s\nSetEnv HOME=%s\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\n",
		s.port, dir, filepath.Join(dir, "host"), s.keys)
	name := filepath.Join(dir, "config")
	// The directory is that of a service that is not started; sshd demands it.
	if err := errors.Join(os.WriteFile(name, []byte(config), 0o600), os.WriteFile(s.keys, nil, 0o600), os.MkdirAll("/run/sshd", 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", name)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("sshd:\n%s", &log)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			conn.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("sshd: %v\n%s", err, &log)
		}
	}
}

// keygen makes a key and is its public part.
func keygen(t *testing.T, name, passphrase string) string {
	t.Helper()
	if out, err := exec.Command("/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", name).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	data, err := os.ReadFile(name + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sshAgent starts an agent that has a key, and is its socket.
func sshAgent(t *testing.T, key string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command("/usr/bin/ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	add := exec.Command("/usr/bin/ssh-add", key)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	return socket
}

// TestGitSSH fetches from OpenSSH's server, with keys of an agent and of files.
func TestGitSSH(t *testing.T) {
	s := serveSSH(t)
	repo := filepath.Join(t.TempDir(), "repo")
	id := commit(t, repo, map[string]string{"a": "1"})
	url := "ssh://root@127.0.0.1:" + s.port + repo
	const hint = "keys are those of an ssh agent, and ~/.ssh/id_rsa, id_ecdsa, id_ed25519; or have git's url.<base>.insteadOf lead to https"
	for name, c := range map[string]struct {
		agent      bool   // whether the key is the agent's, rather than a file's
		passphrase string // of the file
		stranger   bool   // whether the server knows neither us nor we the server
		none       bool   // whether there is no key
		unknown    bool   // whether known_hosts does not have the server
		want, hint string
	}{
		"a file":       {},
		"an agent":     {agent: true},
		"a passphrase": {passphrase: "hush hush", want: "no ssh key to show", hint: "~/.ssh/id_ed25519: a passphrase is needed: add the key to an ssh agent (ssh-add)"},
		"no key":       {none: true, want: "no ssh key to show", hint: hint},
		"not let in":   {stranger: true, want: "refuses our ssh keys", hint: hint},
		"an unknown server": {unknown: true, want: "ssh: handshake failed: knownhosts: key is unknown",
			hint: "the keys of servers go into ~/.ssh/known_hosts: connect to 127.0.0.1:" + s.port + " by ssh once"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			key := filepath.Join(home, ".ssh", "id_ed25519")
			if err := os.Mkdir(filepath.Dir(key), 0o700); err != nil {
				t.Fatal(err)
			}
			socket, public := "", ""
			switch {
			case c.agent:
				key = filepath.Join(t.TempDir(), "key")
				public = keygen(t, key, "")
				socket = sshAgent(t, key)
			case !c.none:
				public = keygen(t, key, c.passphrase)
			}
			known := s.known
			if c.stranger {
				public = ""
			}
			if c.unknown {
				known = "example.com " + strings.SplitN(s.known, " ", 2)[1]
			}
			err := errors.Join(os.WriteFile(s.keys, []byte(public), 0o600), os.WriteFile(filepath.Join(home, ".ssh", "known_hosts"), []byte(known), 0o600))
			if err != nil {
				t.Fatal(err)
			}
			o := bare(t, nil)
			o.Env = func(name string) string { return map[string]string{"HOME": home, "SSH_AUTH_SOCK": socket}[name] }
			store := openStore(t)
			_, err = All(context.Background(), store, gitPlan(t, url+" "+id), o)
			checkClean(t, store)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want := "Cargo.lock:1: crate0@1.0.0: ssh://127.0.0.1:" + s.port + repo + ": " + c.want
			if err == nil || err.Error() != want {
				t.Fatalf("got %v\nwant %s", err, want)
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || strings.Join(e.Hints, "\n") != c.hint {
				t.Errorf("hints %q\nwant %q", e.Hints, c.hint)
			}
		})
	}
}
