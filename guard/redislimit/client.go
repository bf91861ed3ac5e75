package redislimit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/sreagent/sreagent/guard"
)

const (
	// dialTimeout bounds connecting, which goes on when the request that wanted
	// the connection has given up.
	dialTimeout = time.Second
	poolSize    = 128
)

func newClient(cfg guard.RedisConfig) (redis.UniversalClient, error) {
	network, address := "tcp", cfg.Address
	if path, ok := strings.CutPrefix(cfg.Address, "unix://"); ok {
		network, address = "unix", path
	}
	if _, err := readPassword(cfg); err != nil {
		return nil, err
	}
	// The file is read again for each connection, so that a new password needs no
	// restart. Where that fails there must be no connection: one that nobody
	// logged in on would stay in the pool.
	credentials := func(context.Context) (string, string, error) {
		password, err := readPassword(cfg)
		return cfg.User, password, err
	}
	config, err := tlsConfig(cfg.TLS, address)
	if err != nil {
		return nil, err
	}
	timeout := time.Duration(cfg.Timeout)
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if cfg.Cluster {
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: []string{address}, CredentialsProviderContext: credentials, TLSConfig: config,
			MaxRetries: -1, MaxRedirects: 2, DialTimeout: dialTimeout, DialerRetries: 1, ContextTimeoutEnabled: true,
			ReadTimeout: dialTimeout, WriteTimeout: dialTimeout, PoolTimeout: timeout, PoolSize: poolSize,
			DisableIdentity: true, MaintNotificationsConfig: quiet,
		}), nil
	}
	return redis.NewClient(&redis.Options{
		Network: network, Addr: address, CredentialsProviderContext: credentials, DB: cfg.DB, TLSConfig: config,
		MaxRetries: -1, DialTimeout: dialTimeout, DialerRetries: 1, ContextTimeoutEnabled: true,
		ReadTimeout: dialTimeout, WriteTimeout: dialTimeout, PoolTimeout: timeout, PoolSize: poolSize,
		DisableIdentity: true, MaintNotificationsConfig: quiet,
	}), nil
}

func readPassword(cfg guard.RedisConfig) (string, error) {
	if cfg.PasswordFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(cfg.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read password file: %w", err)
	}
	password := strings.TrimSpace(string(data))
	if password == "" {
		return "", fmt.Errorf("read password file %s: it is empty", cfg.PasswordFile)
	}
	return password, nil
}

func tlsConfig(cfg *guard.RedisTLS, address string) (*tls.Config, error) {
	if cfg == nil {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName}
	if out.ServerName == "" {
		out.ServerName, _, _ = net.SplitHostPort(address)
	}
	if cfg.CAFile != "" {
		data, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read CA file %s: it holds no certificate in PEM form", cfg.CAFile)
		}
	}
	if cfg.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// LogDriver sends what the Redis driver says about its connections to log, at
// level Debug, instead of to standard error. It holds for the whole process,
// because the driver has one log.
func LogDriver(log *slog.Logger) { redis.SetLogger(driverLog{log}) }

type driverLog struct{ log *slog.Logger }

func (d driverLog) Printf(ctx context.Context, format string, args ...any) {
	d.log.DebugContext(ctx, "redis driver", "message", fmt.Sprintf(format, args...))
}
