package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	pb "github.com/moby/buildkit/frontend/gateway/pb"
	"google.golang.org/grpc"
)

// slowBridge answers when its caller has given up already, unless that one is patient.
type slowBridge struct{ pb.LLBBridgeClient }

func (slowBridge) Ping(ctx context.Context, _ *pb.PingRequest, _ ...grpc.CallOption) (*pb.PongResponse, error) {
	if _, has := ctx.Deadline(); !has {
		return nil, errors.New("a daemon that never answers would be waited for without end")
	}
	select {
	case <-time.After(100 * time.Millisecond):
		return &pb.PongResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestASlowDaemonIsWaitedFor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := grpcclient.New(ctx, nil, "", "", slowBridge{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("BuildKit's client waits by itself: %v; this test would prove nothing", err)
	}
	if _, err := grpcclient.New(ctx, nil, "", "", patientBridge{slowBridge{}}, nil); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	got := optionsOf([]string{
		"PATH=/bin",
		"BUILDKIT_FRONTEND_OPT_0=build-arg:A=b=c",
		"BUILDKIT_FRONTEND_OPT_1=no-cache=",
		"BUILDKIT_FRONTEND_OPT_2=cmdline",
		"BUILDKIT_SESSION_ID=x",
	})
	want := map[string]string{"build-arg:A": "b=c", "no-cache": "", "cmdline": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
