package script

// languages install the packages of programming languages.
var languages = map[string]*program{
	"go xx-go": {
		kind: "gomod", long: "-", wary: "-",
		values: "-C -p -tags -ldflags -gcflags -mod -modfile -exec -asmflags -buildmode -run -count -timeout -pkgdir " +
			"-toolexec -overlay -pgo -covermode -coverpkg",
		quiet: "-h", always: "mod download,mod tidy,mod vendor", named: "install,run,get",
		local: goLocal, veto: goVeto,
		closed: "build,install,vet,list,version,env,fmt,clean,mod download,mod tidy,mod vendor,mod verify,mod init,mod edit,get",
	},
	"cargo xx-cargo": {
		kind: "cargo", wary: "-",
		values: "--version --vers --branch --tag --rev --path --root --index --registry -p --package --target --target-dir " +
			"--manifest-path --features -F --bin --example --profile -j --jobs --color -Z -C --precise",
		source: "--git", quiet: "--offline --frozen --list --config -h -V", env: "CARGO_NET_OFFLINE",
		always: "fetch,update,generate-lockfile,vendor", named: "install,add,search,binstall",
		veto: cargoVeto, closed: "fetch,update,generate-lockfile,vendor,version,metadata",
	},
	"rustup": {
		values: "--toolchain -t --target -c --component -p --profile --default-toolchain", quiet: "-h -V",
		always: "update,self update", named: "target add,component add", either: "toolchain install,toolchain add,install", closed: "*",
	},
	"rustup-init": {values: "--default-toolchain --default-host --profile -c --component -t --target", quiet: "-h -V", always: "*,-", veto: rustupVeto, closed: "*"},
	"pip": {
		kind: "pip", wary: "-", values: pipValues, lists: "-r --requirement", source: "-e --editable -r --requirement", quiet: "--no-index -f --find-links -h -V",
		env: "PIP_NO_INDEX PIP_FIND_LINKS PIP_CONFIG_FILE", named: "install,download,wheel", local: pipLocal,
		veto: indexVeto("-i", "--index-url", "PIP_INDEX_URL"), closed: "list,show,freeze,check,config,cache,uninstall",
	},
	"uv": {
		kind: "pip", wary: "-", values: pipValues + " --group --extra --with --package --index --default-index --config-file --directory --project --link-mode --index-strategy",
		lists: "-r --requirement --requirements", quiet: "--offline --no-index -f --find-links -h -V --config-file",
		env:    "UV_OFFLINE UV_NO_INDEX UV_FIND_LINKS UV_CONFIG_FILE",
		always: "sync,lock,pip sync,python install", named: "pip install,tool install,add", local: pipLocal,
		veto: indexVeto("-i", "--index-url", "UV_INDEX_URL", "--default-index", "UV_DEFAULT_INDEX"),
	},
	"poetry": {
		kind: "pip", wary: "-", values: "-C --directory -P --project --with --without --only -E --extras -G --group --source",
		quiet: "--only-root -h -V", always: "install,update,lock,sync,self update", named: "add,self add", local: pipLocal,
		env: "PIP_NO_INDEX",
	},
	"pipenv pdm rye hatch": {
		kind: "pip", wary: "-", values: "--python --pypi-mirror --categories -G --group -p --project -r",
		quiet: "-h", env: "PIP_NO_INDEX PIP_FIND_LINKS", always: "install,sync,lock,update,upgrade",
	},
	"pipx":         {kind: "pip", wary: "-", values: "--python --pip-args --index-url -i --suffix", named: "install,run", quiet: "-h --pip-args", env: "PIP_NO_INDEX", local: pipLocal},
	"uvx":          {kind: "pip", wary: "-", values: "--from --with --python -p", named: "*", quiet: "--offline -h -V", env: "UV_OFFLINE UV_NO_INDEX", local: pipLocal},
	"easy_install": {kind: "pip", wary: "-", values: "-f -i -d --find-links --index-url", quiet: "-f --find-links -H -h", named: "*", local: pipLocal},
	"npm cnpm": {
		kind: "npm", wary: "-",
		values: "-C --prefix --registry --cache -w --workspace --loglevel --userconfig --globalconfig --tag --omit --include " +
			"--only --before --access --otp -p --package -c --call --script-shell --install-strategy --cpu --os --libc " +
			"--maxsockets --fetch-retries --fetch-timeout --audit-level",
		quiet: "--offline -h -v --userconfig --globalconfig", env: "NPM_CONFIG_OFFLINE npm_config_offline NPM_CONFIG_USERCONFIG",
		always: "ci,clean-install,install-clean,cit,install-ci-test", either: "install,i,in,isntall,add,update,upgrade,up,install-test,it",
		named: "view,show,info,create,init", local: npmLocal, veto: npmVeto, scoped: "--ignore-scripts", except: "cit,install-ci-test,install-test,it,init,create",
		closed: "config,view,cache,version,prune,ls,list,pkg,root,prefix",
	},
	"npx": {kind: "npm", wary: "-", values: "-p --package -c --call", quiet: "--no-install --no --offline -h -v", env: "npm_config_offline NPM_CONFIG_OFFLINE", named: "*", local: unversioned},
	"yarn yarnpkg": {
		kind: "yarn", wary: "-",
		values: "--cwd --registry --cache-folder --modules-folder --network-timeout --mutex --network-concurrency --mode",
		quiet:  "--offline --immutable-cache -h -v",
		env:    "!YARN_ENABLE_NETWORK YARN_ENABLE_OFFLINE_MODE YARN_YARN_OFFLINE_MIRROR YARN_OFFLINE",
		always: "-,install,up,upgrade,set version,workspaces focus", named: "add,global add,dlx,create", local: npmLocal,
		veto: npmVeto, scoped: "--ignore-scripts", except: "dlx,create", closed: "config,cache,versions",
	},
	"pnpm": {
		kind: "pnpm", wary: "-",
		values: "-C --dir -F --filter --store-dir --registry --reporter --loglevel --prefix --virtual-store-dir --network-concurrency",
		quiet:  "--offline -h -v", env: "npm_config_offline NPM_CONFIG_OFFLINE",
		always: "fetch,ci,env use,self-update", either: "install,i,add,update,up,upgrade", named: "dlx,create", local: npmLocal,
		veto: npmVeto, scoped: "--ignore-scripts", except: "dlx,create", closed: "fetch,config,store",
	},
	"bun": {wary: "-", values: "--cwd --registry --backend -c --config", quiet: "-h -v", either: "install,i,add,update", local: npmLocal, veto: npmVeto},
	"corepack": {
		wary: "-", values: "-o --install-directory", quiet: "-h", env: "!COREPACK_ENABLE_NETWORK",
		either: "prepare,install,up,use,pack", local: npmLocal, closed: "*",
	},
	"gem": {
		wary: "-", values: "-v --version -i --install-dir -n --bindir -s --source -P --trust-policy -p --http-proxy --platform",
		quiet: "-l --local -h --conservative --explain", always: "update", named: "install,i,fetch", local: gemLocal,
		veto: localOption("-s", "--source"),
	},
	"bundle bundler": {
		kind: "bundler", wary: "-", values: "--gemfile --path --jobs -j --retry --without --with --group --shebang",
		quiet: "--local --prefer-local -h -v", env: "BUNDLE_LOCAL BUNDLE_PREFER_LOCAL",
		always: "-,install,update,add,package,cache,pack", closed: "config,check,list,clean",
	},
	"composer composer.phar": {
		wary: "-", values: "-d --working-dir --prefer-install --apcu-autoloader-prefix", quiet: "-h -V",
		env: "COMPOSER_DISABLE_NETWORK", always: "install,i,update,upgrade,u,self-update,selfupdate,global install,global update",
		named: "require,r,create-project,global require",
	},
	"mvn mvnw": {
		kind: "x-maven", long: "-", wary: "-",
		values: "-f --file -P --activate-profiles -pl --projects -T --threads -rf --resume-from -l --log-file -b --builder -t --toolchains",
		quiet:  "-o --offline -v -version -h -s --settings -gs --global-settings -Dmaven.repo.local -llr",
		named:  "*", local: nothingLocal, veto: mavenVeto,
	},
	"gradle gradlew": {
		long: "-", wary: "-",
		values: "-p --project-dir -b --build-file -c --settings-file -g --gradle-user-home -x --exclude-task --console --max-workers -I --init-script",
		quiet:  "--offline -v -version -h -I --init-script --stop --status -m -g --gradle-user-home",
		named:  "*", local: gradleLocal,
	},
	"mix":                {wary: "-", values: "--only", always: "deps.get,deps.update,local.hex,local.rebar", named: "archive.install,hex.install", env: "HEX_OFFLINE"},
	"rebar3":             {always: "get-deps"},
	"cabal":              {always: "update", quiet: "--offline"},
	"stack":              {always: "update,setup", wary: "-"},
	"opam":               {values: "--switch --repositories --compiler", always: "update", named: "install"},
	"luarocks":           {values: "--tree --server --only-server --lua-version", named: "install,download", local: suffixed(".rock", ".rockspec"), veto: localOption("--server", "--only-server")},
	"cpanm cpan":         {values: "-l -L --mirror --local-lib --local-lib-contained -M --from", named: "*", quiet: "-h -v -V --from -M --mirror"},
	"pecl pear":          {named: "install,channel-update,channel-discover,upgrade", values: "-d -D -f"},
	"R Rscript":          {values: "-e --args", source: "", long: "-", named: "*", local: nothingLocal, veto: noInstallPackages},
	"install2.r":         {values: "-n -r -l --ncpus --repos --libloc", named: "*"},
	"ansible-galaxy":     {values: "-p --roles-path --collections-path -s --server -r --role-file --requirements-file", lists: "-r --role-file --requirements-file", named: "install,collection install,role install", quiet: "--offline", local: suffixed(".tar.gz")},
	"dotnet":             {values: "--version --tool-path -v --verbosity --framework --configfile --add-source --source -s", always: "workload update,tool restore", named: "tool install,workload install", veto: hasOption("--add-source", "--source", "--configfile", "-s")},
	"nvm fnm volta sdk":  {values: "--lts", named: "install", quiet: "-o --offline -h -v"},
	"pyenv rbenv nodenv": {named: "install", quiet: "-l --list -h", lists: ""},
}

const pipValues = "-c --constraint -i --index-url --extra-index-url -e --editable -t --target -d --dest -w --wheel-dir " +
	"--root --prefix --src --cache-dir --python --platform --python-version --implementation --abi --no-binary " +
	"--only-binary --progress-bar --proxy --retries --timeout --trusted-host --cert --client-cert --log --exists-action " +
	"--upgrade-strategy --config-settings -C --global-option --install-option --build-option --report --use-feature " +
	"--use-deprecated --hash --root-user-action --keyring-provider -f --find-links -r --requirement --requirements"

// tools fetch in ways of their own.
var tools = map[string]*program{
	"go1":        {always: "download"},
	"asdf":       {named: "plugin add,plugin-add"},
	"pulumi":     {named: "plugin install"},
	"pre-commit": {always: "install-hooks"},
	"deno":       {urls: "run,cache,install", long: "", quiet: "--cached-only"},
}

// tests are programs that fail without anything being wrong.
var tests = fields("grep egrep fgrep zgrep rg which id getent diff cmp mountpoint pgrep pidof ping nc dpkg-query " +
	"nvidia-smi ldconfig systemctl service lsmod modprobe host dig nslookup expr ls stat file")

// plains are programs whose failure breaks a build, wherever they stand.
var plains = fields("cd mkdir echo rm cp mv chmod chown chgrp ln tar unzip gunzip bunzip2 xz sed awk install touch cat tee " +
	"printf useradd groupadd adduser addgroup usermod make cmake ninja dpkg dpkg-reconfigure update-ca-certificates " +
	"patch autoreconf sha256sum sha512sum md5sum localedef locale-gen update-alternatives sleep date")

// leafs are programs that start no package manager.
var leafs = fields("[ cat chgrp chmod chown cp cut date dd df du echo egrep env expr false fgrep file getent grep groupadd " +
	"addgroup adduser useradd usermod gunzip gzip bzip2 bunzip2 head hostname id install ldconfig ln ls mkdir mktemp mv " +
	"nproc printf pwd readlink realpath rm rmdir sed sha1sum sha256sum sha512sum md5sum sleep sort stat tail tar tee test " +
	"touch tr true truncate uname uniq unlink unxz unzip wc which whoami xz zcat zip basename dirname diff cmp comm join " +
	"paste seq shuf strip sync chsh passwd chpasswd update-ca-certificates update-ca-trust locale-gen localedef openssl jq " +
	"base64 tac rev fold nl od xxd strings")
