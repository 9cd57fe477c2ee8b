# Sourced by the commands in scripts/: installs what they need, then runs TypeScript.
set -euo pipefail
export RIDGELINE_CWD="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export DO_NOT_TRACK=1

say() { printf '%s\n' "$*" >&2; }

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  say "Ridgeline needs Node.js 20.11 or newer with npm: https://nodejs.org/en/download"
  exit 1
fi
if ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 11) ? 0 : 1)'; then
  say "Ridgeline needs Node.js 20.11 or newer; this is $(node --version)"
  exit 1
fi

# The lock file as it was when node_modules was last installed from it.
if ! cmp -s package-lock.json node_modules/.ridgeline-installed; then
  say "Installing npm packages (the first time takes a minute) ..."
  started=$SECONDS
  npm ci --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json node_modules/.ridgeline-installed
  say "Installed npm packages in $((SECONDS - started)) s"
fi

run_typescript() { exec node --import tsx "$@"; }
