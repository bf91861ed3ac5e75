// Command controlplane is a real Kubernetes control plane on one machine, for
// tests: etcd, kube-apiserver and the controllers of workloads, disruption
// budgets and autoscalers as they are released, and simulated nodes whose pods
// run no container. It prints one line, "ready ADDRESS", serves until it is
// told to stop, and leaves nothing outside its folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

func main() {
	dir := flag.String("dir", "", "folder for data, certificates and tokens; must exist")
	tokens := flag.String("tokens", "", "file of static tokens: token,user,uid,\"groups\"")
	admin := flag.String("admin-token", "", "a token of that file in the group system:masters")
	nodes := flag.Int("nodes", 2, "simulated nodes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *dir, *tokens, *admin, *nodes); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, tokens, admin string, nodes int) error {
	store, err := startEtcd(dir)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer store.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	opts, err := serverOptions(ctx, dir, tokens, store.Clients[0].Addr().String(), listener)
	if err != nil {
		return fmt.Errorf("configure the API server: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(app.Run(ctx, opts))
	}()
	cfg := &rest.Config{
		Host: "https://" + listener.Addr().String(), BearerToken: admin,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 1000, Burst: 2000,
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, nil
	})
	if err == nil {
		err = startControllers(ctx, cfg, client)
	}
	if err == nil {
		err = startNodes(ctx, client, nodes)
	}
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	fmt.Println("ready", cfg.Host)
	<-done
	return context.Cause(ctx)
}

func startEtcd(dir string) (*embed.Etcd, error) {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "etcd")
	cfg.LogLevel = "error"
	cfg.UnsafeNoFsync = true
	cfg.TickMs, cfg.ElectionMs = 10, 100
	free := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = free, free
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = free, free
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err := <-e.Err():
		return nil, err
	case <-time.After(time.Minute):
		e.Close()
		return nil, errors.New("not ready within a minute")
	}
}

func serverOptions(ctx context.Context, dir, tokens, etcd string, listener net.Listener) (options.CompletedOptions, error) {
	key, err := signingKey(dir)
	if err != nil {
		return options.CompletedOptions{}, err
	}
	s := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, f := range s.Flags().FlagSets {
		flags.AddFlagSet(f)
	}
	err = flags.Parse([]string{
		"--etcd-servers=http://" + etcd,
		"--cert-dir=" + filepath.Join(dir, "certs"),
		"--token-auth-file=" + tokens,
		"--authorization-mode=RBAC",
		"--disable-admission-plugins=ServiceAccount",
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/16",
		"--service-account-issuer=https://sreagent.test",
		"--service-account-key-file=" + key,
		"--service-account-signing-key-file=" + key,
	})
	if err != nil {
		return options.CompletedOptions{}, err
	}
	s.SecureServing.Listener = listener
	s.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port
	s.SecureServing.ExternalAddress = net.IPv4(127, 0, 0, 1)
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return options.CompletedOptions{}, err
	}
	done, err := s.Complete(ctx)
	if err != nil {
		return options.CompletedOptions{}, err
	}
	return done, utilerrors.NewAggregate(done.Validate())
}
