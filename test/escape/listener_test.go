package escape

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A listener is what an attempt tries to reach: a port of all addresses of this
// machine, TCP and UDP, an abstract Unix socket, one with a path, and ICMP
// echoes of a size that no other listener has.
type listener struct {
	port   string
	size   int
	nonce  string
	socket string
	served map[string][]byte // below /daemon/

	mu   sync.Mutex
	hits []string
	open int // connections under way
}

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{nonce: strings.ToLower(rand.Text()[:8]), socket: filepath.Join(t.TempDir(), "s"), served: map[string][]byte{}}
	tcp, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	_, l.port, _ = net.SplitHostPort(tcp.Addr().String())
	udp, err := net.ListenPacket("udp", ":"+l.port)
	if err != nil {
		t.Fatal(err)
	}
	abstract, err := net.Listen("unix", "@hermetic-escape-"+l.port)
	if err != nil {
		t.Fatal(err)
	}
	path, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close(); udp.Close(); abstract.Close(); path.Close() })
	l.size = echoes.add(l)
	go l.accept("tcp", tcp)
	go l.accept("abstract", abstract)
	go l.accept("socket", path)
	go l.receive(udp)
	return l
}

// at is what tells a probe where this listener is.
func (l *listener) at() string { return fmt.Sprintf("%s-%d-%s", l.port, l.size, l.nonce) }

func (l *listener) saw(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hits = append(l.hits, what)
}

// take returns what arrived so far and forgets it.
func (l *listener) take() []string {
	for {
		time.Sleep(50 * time.Millisecond) // for what is on its way through the kernel
		l.mu.Lock()
		if l.open == 0 {
			defer l.mu.Unlock()
			hits := l.hits
			l.hits = nil
			return hits
		}
		l.mu.Unlock()
	}
}

func (l *listener) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open += n
}

func (l *listener) accept(name string, from net.Listener) {
	for {
		conn, err := from.Accept()
		if err != nil {
			return
		}
		l.count(1)
		go func() {
			defer l.count(-1)
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			r := bufio.NewReader(conn)
			line, _ := r.Peek(1) // so that a connection without a word counts
			first := ""
			if len(line) > 0 {
				if req, err := http.ReadRequest(r); err == nil {
					first = req.Method + " " + req.URL.Path
					l.answer(conn, req)
				} else {
					first = "something"
					fmt.Fprint(conn, "hello\n")
				}
			}
			l.saw(name + " " + first)
		}()
	}
}

// answer serves what is below /daemon/, and a word for everything else.
func (l *listener) answer(conn net.Conn, req *http.Request) {
	status, body := "200 OK", []byte("hello\n")
	if name, ok := strings.CutPrefix(req.URL.Path, "/daemon/"); ok {
		if body, ok = l.served[name]; !ok {
			status = "404 Not Found"
		}
	}
	fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n", status, len(body))
	if req.Method != http.MethodHead {
		_, _ = conn.Write(body)
	}
}

// receive answers each datagram as a name server that knows no name.
func (l *listener) receive(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		l.saw("udp")
		if n > 3 {
			buf[2], buf[3] = buf[2]|0x80, buf[3]&0xf0|3
			_, _ = c.WriteTo(buf[:n], from)
		}
	}
}

// pings hears all ICMP echo requests that reach this machine, and tells whose
// they are by their size.
type pings struct {
	mu   sync.Mutex
	next int
	by   map[int]*listener
}

// firstSize is the least size of an echo that means something: beyond what ping
// programs send by default.
const firstSize = 200

func newPings() (*pings, error) {
	p := &pings{next: firstSize, by: map[int]*listener{}}
	for network, kind := range map[string]byte{"ip4:icmp": 8, "ip6:ipv6-icmp": 128} {
		c, err := net.ListenPacket(network, "")
		if err != nil {
			hosts, _ := addresses()
			if kind == 128 && !strings.Contains(strings.Join(hosts, ""), ":") {
				continue // this machine has no IPv6
			}
			return nil, err
		}
		go p.receive(c, kind)
	}
	return p, nil
}

func (p *pings) add(l *listener) (size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	p.by[p.next] = l
	return p.next
}

func (p *pings) receive(c net.PacketConn, kind byte) {
	buf := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if n < 8 || buf[0] != kind {
			continue
		}
		p.mu.Lock()
		l := p.by[n-8]
		p.mu.Unlock()
		if l != nil {
			l.saw("icmp")
		}
	}
}

// addresses are those of this machine, the first beyond loopback before others.
func addresses() (hosts []string, err error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var loopback []string
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		switch {
		case !ok || ip.IP.IsLinkLocalUnicast():
		case ip.IP.IsLoopback():
			loopback = append(loopback, ip.IP.String())
		case ip.IP.To4() != nil:
			hosts = append([]string{ip.IP.String()}, hosts...)
		default:
			hosts = append(hosts, ip.IP.String())
		}
	}
	return append(hosts, loopback...), nil
}
