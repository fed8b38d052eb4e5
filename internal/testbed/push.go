//go:build linux

package testbed

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push uploads the image under its name, with the credentials of `docker login` or its like.
func (i Image) Push(ctx context.Context) error {
	ref, err := name.ParseReference(i.Name)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Name, err)
	}
	if err := remote.Write(ref, i.image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push image %s: %w", i.Name, err)
	}
	return nil
}
