package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	pb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/moby/buildkit/util/grpcerrors"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // the codec that the daemon speaks
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// answerLimit is how long the daemon may take to answer the first call.
const answerLimit = 2 * time.Minute

// A patientBridge waits for the daemon's first answer for as long as answerLimit.
// BuildKit's client gives up after 15 seconds, which a machine that is short of
// memory or has a slow disk can take to load a program, and the user then reads
// no more than "exit code: 1".
type patientBridge struct{ pb.LLBBridgeClient }

// Ping is the first call; it tells what the daemon can do.
func (b patientBridge) Ping(ctx context.Context, in *pb.PingRequest, opts ...grpc.CallOption) (*pb.PongResponse, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerLimit)
	defer cancel()
	return b.LLBBridgeClient.Ping(ctx, in, opts...)
}

// serve runs a frontend for the daemon that started this program, as BuildKit's
// grpcclient.RunFromEnvironment does: they speak over stdin and stdout, and the
// build's options are in the environment.
func serve(ctx context.Context, build client.BuildFunc) error {
	conn, err := grpc.NewClient("passthrough:///daemon",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return stdio{os.Stdin, os.Stdout, os.Stdout}, nil
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(grpcerrors.UnaryClientInterceptor),
		grpc.WithStreamInterceptor(grpcerrors.StreamClientInterceptor),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
			grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)),
	)
	if err != nil {
		return err
	}
	product := os.Getenv("BUILDKIT_EXPORTEDPRODUCT")
	if product != "" {
		apicaps.ExportedProduct = product
	}
	var workers []client.WorkerInfo
	if json.Unmarshal([]byte(os.Getenv("BUILDKIT_WORKERS")), &workers) != nil {
		workers = nil // as BuildKit's client does: a daemon of another version may write them otherwise
	}
	daemon, err := grpcclient.New(ctx, optionsOf(os.Environ()), os.Getenv("BUILDKIT_SESSION_ID"), product,
		patientBridge{pb.NewLLBBridgeClient(conn)}, workers)
	if err != nil {
		return fmt.Errorf("the daemon does not answer: %w", err)
	}
	return daemon.Run(ctx, build)
}

// optionsOf are the build's options: BUILDKIT_FRONTEND_OPT_0=name=value, and on.
func optionsOf(environ []string) map[string]string {
	opts := map[string]string{}
	for _, variable := range environ {
		name, option, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "BUILDKIT_FRONTEND_OPT_") {
			name, value, _ := strings.Cut(option, "=")
			opts[name] = value
		}
	}
	return opts
}

// stdio is the connection to the daemon. Its pipes have no deadlines.
type stdio struct {
	io.Reader
	io.Writer
	io.Closer
}

func (stdio) LocalAddr() net.Addr              { return pipe{} }
func (stdio) RemoteAddr() net.Addr             { return pipe{} }
func (stdio) SetDeadline(time.Time) error      { return nil }
func (stdio) SetReadDeadline(time.Time) error  { return nil }
func (stdio) SetWriteDeadline(time.Time) error { return nil }

// pipe is an address of no network.
type pipe struct{}

func (pipe) Network() string { return "pipe" }
func (pipe) String() string  { return "daemon" }
