# nix-build -E '(import <nixpkgs> { }).callPackage ./packaging/nix { }'
{
  lib,
  rustPlatform,
  pkg-config,
  openssl,
  installShellFiles,
}:

let
  package = (builtins.fromTOML (builtins.readFile ../../Cargo.toml)).package;
in
rustPlatform.buildRustPackage {
  pname = package.name;
  inherit (package) version;

  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;

  # OpenSSL is nixpkgs' own.
  buildNoDefaultFeatures = true;
  nativeBuildInputs = [
    pkg-config
    installShellFiles
  ];
  buildInputs = [ openssl ];

  # The tests want a network of their own and Debian's tools.
  doCheck = false;

  postInstall = ''
    cargo run --offline --no-default-features --example manual -- manual
    installManPage manual/*.1
    installShellCompletion --bash --name session-manager-plugin manual/session-manager-plugin.bash
    installShellCompletion --fish manual/session-manager-plugin.fish
    installShellCompletion --zsh manual/_session-manager-plugin
  '';

  meta = {
    inherit (package) description;
    license = lib.licenses.asl20;
    mainProgram = "session-manager-plugin";
    platforms = lib.platforms.unix;
  };
}
