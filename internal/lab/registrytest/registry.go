// Package registrytest is a registry in memory, for tests that look at what a
// push sends. It knows as much of the distribution specification
// (https://github.com/opencontainers/distribution-spec) as a push and a pull by
// digest need. Reach for [New], serve it with net/http/httptest, and look at
// [Registry.Counts].
package registrytest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// A Registry implements http.Handler.
type Registry struct {
	// User and Password are asked for where they are set.
	User, Password string
	// Break is asked before a request is answered; what it returns, if not 0, is
	// the answer's status.
	Break func(*http.Request) int
	// Forget has blobs counted and not kept: the registry then has none.
	Forget bool

	mu        sync.Mutex
	blobs     map[digest.Digest][]byte
	manifests map[string]manifest // by "name:tag" and "name@digest"
	counts    Counts
}

type manifest struct {
	mediaType string
	data      []byte
}

// Counts are what was sent to a registry.
type Counts struct {
	Uploads int   // blobs and manifests that were taken in
	Bytes   int64 // of them
}

// New is an empty registry.
func New() *Registry {
	return &Registry{blobs: map[digest.Digest][]byte{}, manifests: map[string]manifest{}}
}

// Counts are what was sent since they were asked for last.
func (r *Registry) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts
	r.counts = Counts{}
	return c
}

// Manifest is a manifest by "name:tag" or "name@digest"; nil for none.
func (r *Registry) Manifest(ref string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.manifests[ref].data
}

// Blob is a blob; nil for none.
func (r *Registry) Blob(d digest.Digest) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blobs[d]
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if user, password, _ := req.BasicAuth(); user != r.User || password != r.Password {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	if r.Break != nil {
		if status := r.Break(req); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	if name, ref, ok := strings.Cut(path, "/manifests/"); ok {
		r.manifest(w, req, manifestName(name, ref))
		return
	}
	if name, rest, ok := strings.Cut(path, "/blobs/uploads/"); ok {
		r.upload(w, req, name, rest)
		return
	}
	if _, d, ok := strings.Cut(path, "/blobs/"); ok {
		data := r.Blob(digest.Digest(d))
		answer(w, req, manifest{"application/octet-stream", data})
	}
}

func manifestName(name, ref string) string {
	if strings.Contains(ref, ":") {
		return name + "@" + ref
	}
	return name + ":" + ref
}

// answer is the answer to GET and HEAD.
func answer(w http.ResponseWriter, req *http.Request, m manifest) {
	if m.data == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", m.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(m.data)))
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(m.data).String())
	if req.Method == http.MethodGet {
		w.Write(m.data)
	}
}

func (r *Registry) manifest(w http.ResponseWriter, req *http.Request, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.Method != http.MethodPut {
		answer(w, req, r.manifests[name])
		return
	}
	data, err := io.ReadAll(req.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m := manifest{req.Header.Get("Content-Type"), data}
	r.manifests[name] = m
	repository, _, _ := strings.Cut(name, ":")
	r.manifests[repository+"@"+digest.FromBytes(data).String()] = m
	r.counts.Uploads++
	r.counts.Bytes += int64(len(data))
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	w.WriteHeader(http.StatusCreated)
}

func (r *Registry) upload(w http.ResponseWriter, req *http.Request, name, session string) {
	if req.Method == http.MethodPost {
		w.Header().Set("Location", "/v2/"+name+"/blobs/uploads/"+"session")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	h := sha256.New()
	var data bytes.Buffer
	var to io.Writer = &data
	if r.Forget {
		to = io.Discard
	}
	n, err := io.Copy(io.MultiWriter(h, to), req.Body)
	d := digest.Digest(req.URL.Query().Get("digest"))
	if err != nil || session != "session" || d != digest.NewDigest(digest.SHA256, h) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}`)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.Forget {
		r.blobs[d] = data.Bytes()
	}
	r.counts.Uploads++
	r.counts.Bytes += n
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}
