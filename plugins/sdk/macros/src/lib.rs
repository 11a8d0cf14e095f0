//! The `#[job]` attribute of `sentinel-job`, which documents it.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{
    Error, Expr, ExprLit, FnArg, ItemFn, Lit, PatType, Result, ReturnType, Type, parse2, spanned::Spanned,
};

/// Makes a function the job of its crate. See the documentation of `sentinel_job`.
#[proc_macro_attribute]
pub fn job(arguments: proc_macro::TokenStream, function: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let item = TokenStream::from(function);
    let entry = expand(arguments.into(), item.clone()).unwrap_or_else(Error::into_compile_error);
    // The function stays as written, even beside an error: the one message is then not followed
    // by others about a function that is missing.
    quote!(#item #entry).into()
}

fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`#[job]` takes no arguments"));
    }
    let function: ItemFn =
        parse2(item.clone()).map_err(|_| Error::new_spanned(&item, "`#[job]` belongs on a function"))?;
    refuse_what_a_job_cannot_be(&function)?;
    let (task, input) = parameters(&function)?;

    let name = &function.sig.ident;
    let task_argument = task.map(|task| {
        let borrow = matches!(*task.ty, Type::Reference(_)).then(|| quote!(&));
        quote_spanned!(task.ty.span()=> #borrow __task,)
    });
    let input_type = &input.ty;
    // Spans decide what a type error points at: the input's type and the returned type.
    let read = quote_spanned!(input_type.span()=> ::sentinel_job::__private::input::<#input_type>);
    let returned = match &function.sig.output {
        ReturnType::Default => name.span(),
        ReturnType::Type(_, ty) => ty.span(),
    };
    let outcome = quote_spanned!(returned=> outcome());
    let summary = summary(&function);
    let output_type = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };

    // The underscores keep out of the way of the job's own names, which are in scope here.
    Ok(quote! {
        const _: () = {
            struct __Entry;

            impl ::sentinel_job::__private::Job for __Entry {
                fn run(
                    __task: ::sentinel_job::Task,
                    __payload: &str,
                ) -> ::core::result::Result<::std::string::String, ::sentinel_job::Failure> {
                    #[allow(unused_imports, reason = "a `Result` needs no trait")]
                    use ::sentinel_job::__private::Plain as _;
                    ::sentinel_job::__private::Returned(#name(#task_argument #read(__payload)?)).#outcome
                }

                fn describe() -> ::sentinel_job::__private::Description {
                    #[allow(unused_imports, reason = "each is for some types")]
                    use ::sentinel_job::__private::{NoSchema as _, OkSchema as _, TypeSchema as _};
                    ::sentinel_job::__private::Description {
                        summary: #summary.into(),
                        payload_schema: (&&::sentinel_job::__private::SchemaOf::<#input_type>::new()).schema(),
                        result_schema: (&&::sentinel_job::__private::SchemaOf::<#output_type>::new()).schema(),
                    }
                }
            }

            // A native build exports nothing, but checks the job as a plugin's build does.
            #[cfg(not(target_family = "wasm"))]
            const _: ::sentinel_job::__private::Run = <__Entry as ::sentinel_job::__private::Job>::run;

            #[cfg(target_family = "wasm")]
            type __Exported = ::sentinel_job::__private::Exported<__Entry>;
            #[cfg(target_family = "wasm")]
            ::sentinel_job::__private::export!(__Exported);
        };
    })
}

/// The first paragraph of the function's documentation, on one line.
fn summary(function: &ItemFn) -> String {
    let lines = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let lines = lines.filter_map(|attribute| match &attribute.meta.require_name_value().ok()?.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
        _ => None,
    });
    let first: Vec<_> = lines.skip_while(String::is_empty).take_while(|line| !line.is_empty()).collect();
    first.join(" ")
}

fn refuse_what_a_job_cannot_be(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        let why = "a job is not async: it may block, as it has its sandbox to itself";
        return Err(Error::new_spanned(token, why));
    }
    if let Some(parameter) = signature.generics.type_params().next() {
        return Err(Error::new_spanned(parameter, "a job cannot be generic: name the type of its input"));
    }
    if let Some(receiver) = signature.receiver() {
        return Err(Error::new_spanned(receiver, "a job is a free function"));
    }
    Ok(())
}

/// The parameter for the task, if there is one, and the one for the input.
fn parameters(function: &ItemFn) -> Result<(Option<&PatType>, &PatType)> {
    let typed: Vec<&PatType> = function
        .sig
        .inputs
        .iter()
        .filter_map(|parameter| match parameter {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let (task, input) = match typed[..] {
        [input] => (None, input),
        [task, input] => (Some(task), input),
        _ => {
            return Err(Error::new(
                function.sig.paren_token.span.join(),
                "a job takes `(input: Input)` or `(task: Task, input: Input)`",
            ));
        }
    };
    match &*input.ty {
        Type::Reference(_) => Err(Error::new_spanned(&input.ty, "a job takes its input by value")),
        Type::ImplTrait(_) => Err(Error::new_spanned(&input.ty, "name the type of the input")),
        _ => Ok((task, input)),
    }
}
