package fetch

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// sshKeys are the keys to show to servers by ssh: those of the user's agent, and
// of the files in ~/.ssh that ssh looks for by itself (ssh_config(5),
// IdentityFile).
type sshKeys struct {
	signers []ssh.Signer
	locked  []string // files whose keys need a passphrase, which only an agent has
	note    string   // why the agent has none; "" where it has, or where there is none
}

// keyFiles are in the order in which ssh shows them.
var keyFiles = []string{"id_rsa", "id_ecdsa", "id_ed25519"}

// readSSHKeys asks the agent, whose connection stays open for as long as the
// program runs: the agent signs.
func readSSHKeys(env func(string) string) (keys sshKeys) {
	if socket := env("SSH_AUTH_SOCK"); socket != "" {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			keys.signers, err = agent.NewClient(conn).Signers()
		}
		if err != nil {
			keys.note = "the ssh agent does not answer: " + err.Error()
		}
	}
	home := env("HOME")
	if home == "" {
		return keys
	}
	for _, name := range keyFiles {
		data, err := os.ReadFile(filepath.Join(home, ".ssh", name))
		if err != nil {
			continue
		}
		signer, err := ssh.ParsePrivateKey(data)
		if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
			keys.locked = append(keys.locked, "~/.ssh/"+name)
		}
		if err == nil {
			keys.signers = append(keys.signers, signer)
		}
	}
	return keys
}

// hint is what to do where a server is not content with the keys.
func (k sshKeys) hint() string {
	switch {
	case k.note != "":
		return k.note
	case len(k.locked) > 0:
		return strings.Join(k.locked, ", ") + ": a passphrase is needed: add the key to an ssh agent (ssh-add)"
	}
	return "keys are those of an ssh agent, and ~/.ssh/" + strings.Join(keyFiles, ", ") + "; or have git's url.<base>.insteadOf lead to https"
}

// sshAuth is how a server is asked by ssh: who asks, and which key the server has
// to have.
func (g *gits) sshAuth(u *url.URL) (*gitssh.PublicKeysCallback, error) {
	keys := g.keys()
	if len(keys.signers) == 0 {
		return nil, &transferError{url: redacted(u), text: "no ssh key to show", hint: keys.hint()}
	}
	hosts, err := gitssh.NewKnownHostsDb(knownHosts(g.run.env)...)
	if err != nil {
		return nil, fmt.Errorf("knownhosts: %w", err)
	}
	name := u.User.Username()
	if name == "" {
		if me, err := user.Current(); err == nil {
			name = me.Username
		}
	}
	auth := &gitssh.PublicKeysCallback{User: name, Callback: func() ([]ssh.Signer, error) { return keys.signers, nil }}
	auth.HostKeyCallback = hosts.HostKeyCallback()
	auth.HostKeyAlgorithms = hosts.HostKeyAlgorithms(net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "22")))
	return auth, nil
}

// knownHosts are the files with the keys of servers.
func knownHosts(env func(string) string) []string {
	if list := filepath.SplitList(env("SSH_KNOWN_HOSTS")); len(list) > 0 {
		return list
	}
	return []string{filepath.Join(env("HOME"), ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"}
}
