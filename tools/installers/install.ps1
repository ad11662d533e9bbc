# Installs Certeasy from this folder, without Internet, into a folder of its own:
#
#     powershell -ExecutionPolicy Bypass -File install.ps1 [-Folder FOLDER] [-Python PYTHON]
#
# Done again, with a later version's folder, it upgrades; with an earlier one's, it goes back.
param(
    [string]$Folder = "$env:ProgramFiles\Certeasy",
    [string]$Python = "py"
)
$ErrorActionPreference = "Stop"
$words = @()
if ($Python -eq "py") { $words = @("-@PYTHON@") }

function Invoke-Checked([string]$program, [string[]]$arguments) {
    & $program @arguments
    if ($LASTEXITCODE -ne 0) { throw "install.ps1: $program $($arguments -join ' ') failed" }
}

$version = & $Python @words -c "import sys; print('%d.%d' % sys.version_info[:2])"
if ($version -ne "@PYTHON@") {
    throw "install.ps1: $Python is Python $version; these packages are for Python @PYTHON@"
}
$service = Get-Service certeasy -ErrorAction SilentlyContinue
if ($service -and $service.Status -ne "Stopped") {
    throw "install.ps1: the service certeasy runs and holds its files: stop it first, certeasy service stop"
}
Invoke-Checked $Python ($words + @("-m", "venv", $Folder))
$own = Join-Path $Folder "Scripts\python.exe"
Invoke-Checked $own @("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
    "--find-links", (Join-Path $PSScriptRoot "wheels"), "--require-hashes",
    "--requirement", (Join-Path $PSScriptRoot "requirements.txt"))
Invoke-Checked $own @("-m", "pip", "check", "--disable-pip-version-check")
Invoke-Checked (Join-Path $Folder "Scripts\certeasy.exe") @("--version")
"installed in $Folder; next: `"$Folder\Scripts\certeasy.exe`" --help"
