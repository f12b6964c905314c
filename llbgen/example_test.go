package llbgen_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hermetic-build/hermetic/llbgen"
)

// A build that would download is shut, and finds a tree of the client's where
// it looks.
func ExampleSeal() {
	build := definition(llb.Scratch().
		File(llb.Mkfile("/build.sh", 0o755, []byte("fetch || cp /deps/x ."))).
		Run(llb.Shlex("/build.sh"), llb.Network(llb.NetModeHost)).Root())
	deps := definition(llb.Local("deps", llb.SessionID("s")))

	for _, v := range llbgen.Check(build) {
		fmt.Println("found:", v)
	}
	sealed, err := llbgen.Seal(build, llbgen.Sandbox{
		Mounts: []llbgen.Mount{{Definition: deps, Dest: "/deps", Readonly: true}},
		Env:    []string{"OFFLINE=1"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(llbgen.Dump(sealed))
	// Output:
	// found: exec ["/build.sh"]: asks for network host
	// #1 file
	//     mkfile /build.sh (21 bytes) on scratch
	// #2 source local://deps
	//     attr local.session="s"
	// #3 exec ["/build.sh"]
	//     network none
	//     cwd /
	//     env OFFLINE=1
	//     mount / <- #1 output 0
	//     mount /deps <- #2 readonly
	//     platform linux/amd64
	//     cap exec.meta.network
	//     cap exec.mount.bind
	// => #3
}

// What cannot be sealed is refused, all of it at once.
func ExampleViolationError() {
	build := definition(llb.Scratch().
		Run(llb.Shlex("make"), llb.AddMount("/deps/extra", llb.Scratch(), llb.Tmpfs())).Root())
	_, err := llbgen.Seal(build, llbgen.Sandbox{
		Mounts: []llbgen.Mount{{Definition: definition(llb.Local("deps")), Dest: "/deps"}},
	})
	var refused *llbgen.ViolationError
	if errors.As(err, &refused) {
		for _, v := range refused.Violations {
			fmt.Println(v.Kind, v.Subject)
			fmt.Println(v)
		}
	}
	// Output:
	// ReservedMount /deps
	// exec ["make"]: mount at /deps/extra collides with /deps, which is reserved
}

func definition(st llb.State) *pb.Definition {
	def, err := st.Marshal(context.Background(), llb.LinuxAmd64)
	if err != nil {
		panic(err)
	}
	return def.ToPB()
}
