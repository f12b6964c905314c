// Command probe tries, from inside a RUN, all ways out that a program without
// privileges knows, and prints which of them are open:
//
//	probe AT
//
// AT is "port-size-nonce": where the listener is, how long an ICMP echo is that
// it knows as this attempt's, and what makes the text of a build its own. The
// addresses are in the file probe.hosts beside the program. More arguments are
// ignored, so that an image can have "probe AT" for its SHELL.
package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// patience is how long a way may take to show that it is open.
const patience = 500 * time.Millisecond

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: probe AT")
		os.Exit(1)
	}
	at := os.Args[1]
	parts := strings.SplitN(at, "-", 3)
	if len(parts) != 3 {
		fmt.Fprintf(os.Stderr, "probe %s: want port-size-nonce\n", at)
		os.Exit(1)
	}
	size, _ := strconv.Atoi(parts[1])
	self, _ := os.Executable()
	hosts, err := os.ReadFile(filepath.Join(filepath.Dir(self), "probe.hosts"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p := prober{at: at}
	for _, host := range strings.Fields(string(hosts)) {
		p.try("tcp", net.JoinHostPort(host, parts[0]))
		p.try("udp", net.JoinHostPort(host, parts[0]))
		p.ping(host, size)
	}
	p.try("unix", "@hermetic-escape-"+parts[0])
	p.try("unix", os.Getenv("SSH_AUTH_SOCK"))
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if u, err := url.Parse(value); err == nil && strings.HasSuffix(strings.ToLower(name), "_proxy") {
			p.try("tcp", u.Host)
		}
	}
	said := "shut"
	if len(p.open) > 0 {
		said = "open: " + strings.Join(p.open, " ")
	}
	fmt.Printf("probe %s: %s\n", at, said)
}

type prober struct {
	at   string
	open []string
}

// try sends a request and waits for an answer.
func (p *prober) try(network, address string) {
	if address == "" {
		return
	}
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /probe-%s HTTP/1.0\r\n\r\n", p.at)
	if n, _ := conn.Read(make([]byte, 512)); n > 0 {
		p.open = append(p.open, network+":"+address)
	}
}

// ping sends an ICMP echo request (RFC 792, RFC 4443) of the attempt's size.
// Nobody waits for the answer, which the kernel gives: the listener knows.
func (p *prober) ping(host string, size int) {
	network, kind := "ip4:icmp", byte(8)
	if strings.Contains(host, ":") {
		network, kind = "ip6:ipv6-icmp", 128 // its checksum is the kernel's to fill in
	}
	conn, err := net.Dial(network, host)
	if err != nil {
		return
	}
	defer conn.Close()
	msg := make([]byte, 8+size)
	msg[0] = kind
	if kind == 8 {
		binary.BigEndian.PutUint16(msg[2:], ^uint16(8<<8)) // all else is zero
	}
	if _, err := conn.Write(msg); err == nil && host != "127.0.0.1" && host != "::1" {
		p.open = append(p.open, "icmp:"+host)
	}
}
