// Command inventory keeps a list of parts in a file and serves it over HTTP. It
// is an ordinary Go program with ordinary dependencies: what a hermetic build
// has to cope with.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"github.com/spf13/viper"
	"go.opentelemetry.io/otel"
	"go.uber.org/zap"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"google.golang.org/grpc/codes"
	"gopkg.in/yaml.v3"
)

// A Part is one line of the list.
type Part struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
}

func main() {
	if err := command().Execute(); err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{Use: "inventory", Short: "keep a list of parts", SilenceUsage: true}
	root.AddCommand(
		&cobra.Command{
			Use: "list NAME…", Short: "print a list as YAML", Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, names []string) error {
				return yaml.NewEncoder(cmd.OutOrStdout()).Encode(parts(names))
			},
		},
		&cobra.Command{
			Use: "serve", Short: "serve metrics and health over HTTP", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return serve(settings()) },
		},
	)
	return root
}

// parts makes a list; equal names have equal IDs.
func parts(names []string) []Part {
	title := cases.Title(language.English)
	var out []Part
	for _, n := range names {
		out = append(out, Part{ID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(n)).String(), Name: title.String(n)})
	}
	return out
}

func settings() *viper.Viper {
	v := viper.New()
	v.SetEnvPrefix("inventory")
	v.AutomaticEnv()
	v.SetDefault("listen", "127.0.0.1:8080")
	return v
}

func serve(v *viper.Viper) error {
	log, err := zap.NewProduction()
	if err != nil {
		return err
	}
	tracer := otel.Tracer("inventory")
	registry := prometheus.NewRegistry()
	r := chi.NewRouter()
	r.Use(middleware.Recoverer)
	r.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	r.Get("/healthz", func(w http.ResponseWriter, req *http.Request) {
		_, span := tracer.Start(req.Context(), "healthz")
		defer span.End()
		fmt.Fprintln(w, codes.OK)
	})
	log.Info("listening", zap.String("address", v.GetString("listen")))
	server := &http.Server{Addr: v.GetString("listen"), Handler: r, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}
